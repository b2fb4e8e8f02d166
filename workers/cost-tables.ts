import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { arch, cpus } from 'node:os';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { CompressionError, isErrorCode } from '../src/errors.ts';
import { KernelCostTableSchema } from '../src/passes/cost/kernel-cost-table.ts';
import type { ObjectStore } from '../src/storage/object-store.ts';
import { errorOfExit, JobChild, type ChildOptions } from './child-process.ts';

/** Instruction sets that change which kernels ONNX Runtime picks. */
const KERNEL_FLAGS = [
  'avx2',
  'fma',
  'avx512f',
  'avx512bw',
  'avx512_vnni',
  'avx_vnni',
  'amx_int8',
  'asimddp',
  'i8mm',
  'sve',
];
const MEASURE_TIMEOUT_MS = 120_000;

/**
 * The kernel cost tables: one for each kind of CPU and number of threads, measured by whichever worker needs it first,
 * kept in the store (`cost-tables/`), the same for all from then on. A job keeps to the table of its first attempt.
 */
export class CostTables {
  readonly #store: ObjectStore;
  readonly #child: ChildOptions;
  readonly #logger: Logger;
  readonly #folder: string;
  readonly #loaded = new Map<string, Promise<{ path: string; hash: string }>>();

  constructor(deps: { store: ObjectStore; child: ChildOptions; logger: Logger; folder: string }) {
    this.#store = deps.store;
    this.#child = deps.child;
    this.#logger = deps.logger;
    this.#folder = deps.folder;
  }

  /**
   * The pinned table, or this machine's own. The file is for the parent to copy into a child's folder.
   *
   * @param onMeasuring - called when the table has yet to be measured, which takes seconds
   */
  async get(
    threads: number,
    pinned: string | null,
    onMeasuring: () => void,
  ): Promise<{ readonly path: string; readonly hash: string }> {
    const key = pinned === null ? `kind/${cpuKindId(threads)}` : `hash/${pinned}`;
    let loading = this.#loaded.get(key);
    if (loading === undefined) {
      loading = this.#load(key, { threads, pinned, onMeasuring });
      this.#loaded.set(key, loading);
      loading.catch(() => this.#loaded.delete(key));
    }
    return loading;
  }

  async #load(
    key: string,
    { threads, pinned, onMeasuring }: { threads: number; pinned: string | null; onMeasuring: () => void },
  ): Promise<{ path: string; hash: string }> {
    const found = await this.#store.get(`cost-tables/${key}.json`);
    if (found !== undefined) return this.#keep(found.body);
    if (pinned !== null) throw new CompressionError('INTERNAL', `cost table ${pinned} is no longer in the store`);
    this.#logger.info({ threads }, 'measuring the kernel cost table of this kind of CPU');
    onMeasuring();
    const body = await this.#measure(threads);
    // Another worker may have been first: its table counts, so that all use the same.
    await this.#store.put(`cost-tables/${key}.json`, body, { ifAbsent: true });
    const winner = await this.#store.get(`cost-tables/${key}.json`);
    return this.#keep(winner?.body ?? body);
  }

  async #keep(body: Uint8Array): Promise<{ path: string; hash: string }> {
    const table = KernelCostTableSchema.parse(JSON.parse(Buffer.from(body).toString('utf8')));
    await this.#store.put(`cost-tables/hash/${table.hash}.json`, body, { ifAbsent: true });
    await mkdir(this.#folder, { recursive: true });
    const path = join(this.#folder, `cost-table-${table.hash}.json`);
    await writeFile(path, body);
    return { path, hash: table.hash };
  }

  async #measure(threads: number): Promise<Uint8Array> {
    const child = await JobChild.start(this.#child);
    const timer = setTimeout(() => child.kill(), MEASURE_TIMEOUT_MS);
    try {
      let failure: CompressionError | undefined;
      child.run(
        { kind: 'measure-costs', threads, outputPath: 'costs.json' },
        (message) => {
          if (message.type !== 'error') return;
          // The code decides about another try: a full disk is not a defect.
          const code = isErrorCode(message.code) ? message.code : 'INTERNAL';
          failure = new CompressionError(code, `measuring kernel costs failed: ${message.message}`);
        },
        MEASURE_TIMEOUT_MS / 1000,
      );
      const exit = await child.exited;
      if (failure !== undefined) throw failure;
      if (exit.code !== 0) throw errorOfExit(exit);
      return await readFile(join(child.directory, 'costs.json'));
    } finally {
      clearTimeout(timer);
      await child.dispose();
      await rm(child.directory, { recursive: true, force: true });
    }
  }
}

/** Same id, same kernels: architecture, CPU model, the flags that matter, threads. */
export function cpuKindId(threads: number): string {
  const model = cpus()[0]?.model ?? 'unknown';
  const text = [
    arch(),
    model,
    cpuFlags()
      .filter((flag) => KERNEL_FLAGS.includes(flag))
      .sort()
      .join(' '),
    threads,
  ].join('|');
  return createHash('sha256').update(text).digest('hex').slice(0, 24);
}

function cpuFlags(): string[] {
  if (process.platform !== 'linux') return [];
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'));
  return line?.[1]?.split(' ') ?? [];
}
