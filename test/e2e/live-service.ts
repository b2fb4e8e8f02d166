import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { loadConfig } from '../../src/config.ts';
import { createLogger } from '../../src/logger.ts';
import { Job } from '../../src/schemas/job.ts';
import type { KernelCostTable } from '../../src/passes/cost/kernel-cost-table.ts';
import { startService, type Service } from '../../src/service.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';

const BINARY = { 'content-type': 'application/octet-stream' };
const Problem = z.object({ code: z.string(), detail: z.string(), status: z.number() });
const Created = z.object({ id: z.string() });

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** The service as its users meet it: HTTP, queue, worker and real children on a folder of its own. */
export class LiveService {
  readonly url: string;
  readonly folder: string;
  /** Every answer of 500 or more that any request got. */
  readonly failures: string[] = [];
  readonly #service: Service;

  static async start(env: Readonly<Record<string, string>> = {}, costs?: KernelCostTable): Promise<LiveService> {
    const folder = await mkdtemp(join(tmpdir(), 'tersor-e2e-'));
    const store = new FileSystemStore(folder);
    // Measuring takes seconds; a table without entries, the default, makes no choice for speed's sake.
    await putKnownKernelCosts(store, [1, 2], costs);
    await store.close();
    const level = process.env['TEST_LOG'] ?? 'silent';
    const config = loadConfig({ DATA_DIR: folder, PORT: '0', JOB_THREADS: '1', LOG_LEVEL: level, ...env });
    return new LiveService(await startService(config, createLogger(level)), folder);
  }

  private constructor(service: Service, folder: string) {
    this.#service = service;
    this.url = service.url;
    this.folder = folder;
  }

  async request(path: string, init?: RequestInit): Promise<Answer> {
    const response = await fetch(this.url + path, init);
    const text = await response.text();
    if (response.status >= 500) this.failures.push(`${init?.method ?? 'GET'} ${path}: ${response.status} ${text}`);
    const json = (response.headers.get('content-type') ?? '').includes('json');
    return { status: response.status, body: json ? (JSON.parse(text) as unknown) : text };
  }

  upload(kind: 'models' | 'datasets', bytes: Uint8Array): Promise<Answer> {
    return this.request(`/v1/${kind}`, { method: 'POST', headers: BINARY, body: Buffer.from(bytes) });
  }

  /** One multipart request: the model and its external files by location. */
  uploadWithFiles(model: Uint8Array, files: Readonly<Record<string, Uint8Array>>): Promise<Answer> {
    const form = new FormData();
    form.set('model', new Blob([Buffer.from(model)]), 'model.onnx');
    for (const [location, bytes] of Object.entries(files))
      form.append('external', new Blob([Buffer.from(bytes)]), location);
    return this.request('/v1/models', { method: 'POST', body: form });
  }

  async uploaded(kind: 'models' | 'datasets', bytes: Uint8Array): Promise<string> {
    return idOf(await this.upload(kind, bytes));
  }

  submit(body: object): Promise<Answer> {
    const headers = { 'content-type': 'application/json' };
    return this.request('/v1/jobs', { method: 'POST', headers, body: JSON.stringify(body) });
  }

  async job(id: string): Promise<Job> {
    return Job.parse((await this.request(`/v1/jobs/${id}`)).body);
  }

  async until(id: string, done: (job: Job) => boolean, timeoutMs = 60_000): Promise<Job> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const job = await this.job(id);
      if (done(job)) return job;
      if (performance.now() > end) throw new Error(`job is still ${JSON.stringify(job)} after ${timeoutMs} ms`);
      await delay(50);
    }
  }

  /** Submits and waits for the end. */
  async run(body: object, timeoutMs?: number): Promise<Job> {
    const answer = await this.submit(body);
    return this.until(idOf(answer), (job) => job.finishedAt !== null, timeoutMs);
  }

  async artifact(job: Job, name: string): Promise<Buffer> {
    const response = await fetch(`${this.url}/v1/jobs/${job.id}/artifacts/${name}`);
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  }

  async stop(): Promise<void> {
    await this.#service.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export function idOf({ status, body }: Answer): string {
  const created = Created.safeParse(body);
  if (status >= 300 || !created.success) throw new Error(`refused: ${status} ${JSON.stringify(body)}`);
  return created.data.id;
}

export function problemOf(answer: Answer): z.infer<typeof Problem> {
  return Problem.parse(answer.body);
}

/** Process ids of the job children of this process, the spare one included. */
export function jobChildren(parent = process.pid): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line);
    return match?.[3]?.includes('job-child') === true && Number(match[2]) === parent ? [Number(match[1])] : [];
  });
}
