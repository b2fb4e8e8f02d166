import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
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
/** Counts what a table holds: one of an earlier release, which knows fewer kernels or shapes, is measured anew. */
const CONTENTS = 5;

/** A table, as a file for the parent to copy into a child's folder. */
export interface CostTableFile {
  readonly path: string;
  readonly hash: string;
}

/** One who asks for a table. */
export interface CostTableWaiter {
  /** Aborted when it waits no longer. */
  readonly signal: AbortSignal;
  /** Called when the table has yet to be measured, which takes seconds. */
  readonly onMeasuring: () => void;
}

/** A table on its way. When the last of those who wait for it is gone, so is the measurement. */
interface Loading {
  readonly table: Promise<CostTableFile>;
  readonly interruption: AbortController;
  waiting: number;
}

/**
 * The kernel cost tables: one for each kind of CPU and number of threads, measured by whichever worker needs it first,
 * kept in the store (`cost-tables/`), the same for all from then on. A job keeps to the table of its first attempt.
 */
export class CostTables {
  readonly #store: ObjectStore;
  readonly #child: ChildOptions;
  readonly #logger: Logger;
  readonly #folder: string;
  readonly #loaded = new Map<string, Loading>();
  readonly #measurements = new Set<Promise<Uint8Array>>();

  constructor(deps: { store: ObjectStore; child: ChildOptions; logger: Logger; folder: string }) {
    this.#store = deps.store;
    this.#child = deps.child;
    this.#logger = deps.logger;
    this.#folder = deps.folder;
  }

  /**
   * The pinned table, or this machine's own. Jobs that ask for the same one wait for the same measurement; it ends, with its
   * process, when none of them waits any longer.
   *
   * @throws CompressionError CANCELED when the signals of all who wait are aborted; INTERNAL when the pinned table is gone
   */
  async get(threads: number, pinned: string | null, waiter: CostTableWaiter): Promise<CostTableFile> {
    throwIfCanceled(waiter.signal);
    const key = pinned === null ? `kind/${cpuKindId(threads)}` : `hash/${pinned}`;
    const loading = this.#loaded.get(key) ?? this.#start(key, { threads, pinned, onMeasuring: waiter.onMeasuring });
    loading.waiting += 1;
    const leave = (): void => {
      loading.waiting -= 1;
      if (loading.waiting > 0) return;
      this.#forget(key, loading);
      loading.interruption.abort();
    };
    waiter.signal.addEventListener('abort', leave, { once: true });
    try {
      return await loading.table;
    } finally {
      waiter.signal.removeEventListener('abort', leave);
    }
  }

  /** Ends what is measured still, and waits until its processes and folders are gone. */
  async close(): Promise<void> {
    for (const { interruption } of this.#loaded.values()) interruption.abort();
    await Promise.allSettled(this.#measurements);
  }

  #start(key: string, how: { threads: number; pinned: string | null; onMeasuring: () => void }): Loading {
    const interruption = new AbortController();
    const table = this.#load(key, { ...how, signal: interruption.signal });
    const loading = { table, interruption, waiting: 0 };
    this.#loaded.set(key, loading);
    table.catch(() => this.#forget(key, loading));
    return loading;
  }

  /** Who asks next begins anew. */
  #forget(key: string, loading: Loading): void {
    if (this.#loaded.get(key) === loading) this.#loaded.delete(key);
  }

  async #load(
    key: string,
    how: { threads: number; pinned: string | null; onMeasuring: () => void; signal: AbortSignal },
  ): Promise<CostTableFile> {
    const { threads, pinned, onMeasuring, signal } = how;
    const found = await this.#store.get(`cost-tables/${key}.json`);
    if (found !== undefined) return this.#keep(found.body);
    if (pinned !== null) throw new CompressionError('INTERNAL', `cost table ${pinned} is no longer in the store`);
    this.#logger.info({ threads }, 'measuring the kernel cost table of this kind of CPU');
    onMeasuring();
    const measurement = this.#measure(threads, signal);
    this.#measurements.add(measurement);
    const body = await measurement.finally(() => this.#measurements.delete(measurement));
    // Another worker may have been first: its table counts, so that all use the same.
    await this.#store.put(`cost-tables/${key}.json`, body, { ifAbsent: true });
    const winner = await this.#store.get(`cost-tables/${key}.json`);
    return this.#keep(winner?.body ?? body);
  }

  async #keep(body: Uint8Array): Promise<CostTableFile> {
    const table = KernelCostTableSchema.parse(JSON.parse(Buffer.from(body).toString('utf8')));
    await this.#store.put(`cost-tables/hash/${table.hash}.json`, body, { ifAbsent: true });
    await mkdir(this.#folder, { recursive: true });
    const path = join(this.#folder, `cost-table-${table.hash}.json`);
    await writeFile(path, body);
    return { path, hash: table.hash };
  }

  async #measure(threads: number, signal: AbortSignal): Promise<Uint8Array> {
    const child = await JobChild.start(this.#child);
    const kill = (): void => child.kill();
    const timer = setTimeout(kill, MEASURE_TIMEOUT_MS);
    signal.addEventListener('abort', kill, { once: true });
    try {
      throwIfCanceled(signal); // it may have come while the child was started
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
      throwIfCanceled(signal);
      if (failure !== undefined) throw failure;
      if (exit.code !== 0) throw errorOfExit(exit);
      return await readFile(join(child.directory, 'costs.json'));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', kill);
      await child.dispose();
    }
  }
}

function throwIfCanceled({ aborted }: AbortSignal): void {
  if (aborted) throw new CompressionError('CANCELED', 'nobody waits for the kernel cost table any longer');
}

/** Same id, same kernels: architecture, CPU model, the flags that matter, threads, and what a table holds. */
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
    CONTENTS,
  ].join('|');
  return createHash('sha256').update(text).digest('hex').slice(0, 24);
}

function cpuFlags(): string[] {
  if (process.platform !== 'linux') return [];
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'));
  return line?.[1]?.split(' ') ?? [];
}
