import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { createJobs, type Jobs } from '../../src/jobs/create-jobs.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import type { Attempt, NewJob } from '../../src/jobs/job-service.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { TERMINAL_STATUSES } from '../../src/schemas/job.ts';
import { DatasetStore } from '../../src/storage/dataset-store.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { summarize } from '../../src/storage/model-summary.ts';
import { attemptPrefix } from '../../src/jobs/job-keys.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { ModelStore } from '../../src/storage/model-store.ts';
import type { SpooledFile } from '../../src/storage/spool.ts';
import { describeDataset } from '../../src/data/open-dataset.ts';
import { startWorker, type Worker } from '../../workers/main.ts';
import { putKnownKernelCosts } from './known-kernel-costs.ts';

export const TENANT = 'default';
export const EXAMPLE = 'examples/fashion-mnist';
export const FASHION = {
  scale: 1 / 255,
  mean: 0.286,
  std: 0.353,
  layout: 'nchw',
  channelOrder: 'rgb',
  resize: null,
} as const;

export interface WorkerHooks {
  /** Before the worker gets the claimed attempt. */
  readonly afterClaim?: (attempt: Attempt) => Promise<void>;
}

/** Store, queue, jobs and a worker in this process; the children are real. */
export class WorkerService {
  readonly folder: string;
  readonly store: FileSystemStore;
  readonly queue: InProcessQueue;
  readonly jobs: Jobs;
  readonly #hooks: WorkerHooks;
  worker: Worker | undefined;

  /** @param tablesFor - numbers of threads for which kernel costs need not be measured */
  static async start(tablesFor: readonly number[] = [1, 2], hooks: WorkerHooks = {}): Promise<WorkerService> {
    const service = new WorkerService(await mkdtemp(join(tmpdir(), 'tersor-worker-test-')), hooks);
    await putKnownKernelCosts(service.store, tablesFor);
    await service.startWorker();
    return service;
  }

  private constructor(folder: string, hooks: WorkerHooks) {
    this.folder = folder;
    this.#hooks = hooks;
    this.store = new FileSystemStore(join(folder, 'store'));
    this.queue = new InProcessQueue();
    this.jobs = createJobs({ store: this.store, queue: this.queue });
  }

  /** @param snapshotSeconds - may be a fraction here, for nets that train in seconds */
  async startWorker(memoryBytes = 2 * 2 ** 30, snapshotSeconds = 120): Promise<void> {
    this.worker = await startWorker({
      store: this.store,
      queue: this.queue,
      claims: { claim: (jobId, workerId) => this.#claim(jobId, workerId) },
      logger: pino({ level: process.env['TEST_LOG'] ?? 'silent' }),
      concurrency: 1,
      memoryBytes,
      snapshotSeconds,
    });
  }

  async #claim(jobId: string, workerId: string): Promise<Attempt | undefined> {
    const attempt = await this.jobs.claims.claim(jobId, workerId);
    if (attempt !== undefined) await this.#hooks.afterClaim?.(attempt);
    return attempt;
  }

  async uploadModel(path: string): Promise<{ id: string; sha256: string }> {
    const upload = { model: await spooled(path), external: new Map<string, SpooledFile>() };
    const { model } = await new ModelStore(this.store).create(TENANT, upload, async () =>
      summarize(await loadModel(path)),
    );
    return model;
  }

  async uploadDataset(path: string): Promise<{ id: string; sha256: string }> {
    const { dataset } = await new DatasetStore(this.store).create(
      TENANT,
      { file: await spooled(path), name: null },
      async () => {
        const { kind, samples } = await describeDataset(path);
        return { kind, samples };
      },
    );
    return dataset;
  }

  async submit(job: Partial<NewJob> & Pick<NewJob, 'model' | 'recipe' | 'inputs'>): Promise<JobRecord> {
    const { record } = await this.jobs.service.submit({
      tenant: TENANT,
      data: {},
      preprocess: undefined,
      constraints: {},
      target: { cpu: 'portable' },
      threads: 1,
      seed: 0,
      deadlineSeconds: 120,
      priority: 0,
      webhook: undefined,
      metadata: {},
      ...job,
    });
    return record;
  }

  async get(jobId: string): Promise<JobRecord> {
    const record = await this.jobs.service.get(TENANT, jobId);
    if (record === undefined) throw new Error(`job ${jobId} is gone`);
    return record;
  }

  /** Waits until the job satisfies the condition. */
  async until(jobId: string, done: (record: JobRecord) => boolean, timeoutMs = 60_000): Promise<JobRecord> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const record = await this.get(jobId);
      if (done(record)) return record;
      if (performance.now() > end || record.finishedAt !== null)
        throw new Error(`job is still ${JSON.stringify(record)} after ${timeoutMs} ms`);
      await this.jobs.service.waitForChange(jobId, 200);
    }
  }

  async finished(jobId: string, timeoutMs?: number): Promise<JobRecord> {
    return this.until(jobId, (record) => TERMINAL_STATUSES.has(record.status), timeoutMs);
  }

  async artifact(record: JobRecord, name: string): Promise<Buffer> {
    const found = await this.store.get(attemptPrefix(TENANT, record.id, record.attempt) + name);
    if (found === undefined) throw new Error(`no artifact ${name}`);
    return Buffer.from(found.body);
  }

  async stop(): Promise<void> {
    await this.worker?.close();
    await this.jobs.close();
    await this.queue.close();
    await this.store.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function spooled(path: string): Promise<SpooledFile> {
  const sha256 = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  return { path, bytes: (await stat(path)).size, sha256, open: () => createReadStream(path) };
}
