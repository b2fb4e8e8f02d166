import { spawn, type ChildProcess } from 'node:child_process';
import { openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { endWithThisProcess, freePort, startRedis, startS3, type Redis, type S3Server } from './services.ts';

/** Node's arguments that start the service. */
const BUILT = ['dist/src/server.js'];
export const FROM_SOURCES = ['--import', 'tsx', 'src/server.ts'];

const LogLine = z.looseObject({ msg: z.string(), jobId: z.string().optional(), outcome: z.string().optional() });
type LogLine = z.infer<typeof LogLine>;

export interface ClusterOptions {
  readonly program?: readonly string[];
  /** Done before a process starts. */
  readonly prepare?: (s3: S3Server) => Promise<void>;
}

/** API and workers as separate processes of the service, on a real Redis and a real S3 server. */
export class Cluster {
  readonly redis: Redis;
  readonly s3: S3Server;
  readonly folder: string;
  readonly baseUrl: string;
  readonly #port: number;
  readonly #program: readonly string[];
  readonly #processes = new Map<string, ChildProcess>();

  /** @param options - the built service, on an empty store, unless they say otherwise */
  static async start(workers: readonly string[], options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster({
      redis: await startRedis({ appendOnly: true }),
      s3: await startS3(),
      folder: await mkdtemp(join(tmpdir(), 'tersor-cluster-')),
      port: await freePort(),
      program: options.program ?? BUILT,
    });
    try {
      await options.prepare?.(cluster.s3);
      await cluster.startProcess('api');
      for (const name of workers) await cluster.startProcess(name);
      return cluster;
    } catch (error) {
      await cluster.stop({ keepLogs: true });
      throw error;
    }
  }

  private constructor(parts: {
    readonly redis: Redis;
    readonly s3: S3Server;
    readonly folder: string;
    readonly port: number;
    readonly program: readonly string[];
  }) {
    this.redis = parts.redis;
    this.s3 = parts.s3;
    this.folder = parts.folder;
    this.#port = parts.port;
    this.#program = parts.program;
    this.baseUrl = `http://127.0.0.1:${parts.port}`;
  }

  /** `api`, or any other name for a worker. Resolves when it answers /readyz. */
  async startProcess(name: string): Promise<void> {
    const port = name === 'api' ? this.#port : await freePort();
    const log = openSync(join(this.folder, `${name}.log`), 'a');
    const child = spawn(process.execPath, this.#program, {
      stdio: ['ignore', log, log],
      env: {
        ...process.env,
        ROLE: name === 'api' ? 'api' : 'worker',
        PORT: String(port),
        REDIS_URL: this.redis.url,
        S3_BUCKET: this.s3.bucket,
        S3_ENDPOINT: this.s3.endpoint,
        DATA_DIR: join(this.folder, name),
        JOB_THREADS: '1',
        AWS_ACCESS_KEY_ID: this.s3.credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: this.s3.credentials.secretAccessKey,
      },
    });
    this.#processes.set(name, endWithThisProcess(child));
    for (let tries = 0; tries < 600; tries += 1) {
      if (child.exitCode !== null)
        throw new Error(`${name} ended with exit code ${child.exitCode}; see ${this.folder}`);
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
      if (answer?.ok === true) return;
      await delay(100);
    }
    throw new Error(`${name} is not ready after 60 s; see ${this.folder}`);
  }

  pid(name: string): number {
    const pid = this.#processes.get(name)?.pid;
    if (pid === undefined) throw new Error(`no process ${name}`);
    return pid;
  }

  /** What the process, and those of that name before it, have logged. */
  log(name: string): Promise<string> {
    return readFile(join(this.folder, `${name}.log`), 'utf8');
  }

  /** The jobs whose attempts a worker has begun, and those it has ended with success. */
  async workOf(name: string): Promise<{ readonly begun: readonly string[]; readonly succeeded: readonly string[] }> {
    const lines = (await this.log(name)).split('\n').filter((line) => line.startsWith('{'));
    const entries = lines.flatMap((line) => LogLine.safeParse(parsed(line)).data ?? []);
    const idsOf = (wanted: (entry: LogLine) => boolean): string[] =>
      entries.filter(wanted).flatMap(({ jobId }) => jobId ?? []);
    return {
      begun: idsOf(({ msg }) => msg === 'attempt starts'),
      succeeded: idsOf(({ msg, outcome }) => msg === 'attempt ended' && outcome === 'succeeded'),
    };
  }

  /** SIGKILL, as a crash of the machine under it would. */
  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#processes.get(name);
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  async stop({ keepLogs = false }: { readonly keepLogs?: boolean } = {}): Promise<void> {
    for (const name of this.#processes.keys()) await this.kill(name);
    await this.redis.stop();
    await this.s3.stop();
    if (!keepLogs) await rm(this.folder, { recursive: true, force: true });
  }
}

/** Undefined for a line that is still being written. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
