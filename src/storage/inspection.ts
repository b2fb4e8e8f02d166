import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { CompressionError, isErrorCode } from '../errors.ts';
import { DatasetSummaryField } from '../schemas/dataset.ts';
import { ModelSummaryField } from '../schemas/model.ts';

/** What a thread is asked to read; paths are ours. */
export type InspectionTask =
  | {
      readonly kind: 'model';
      readonly path: string;
      readonly external: readonly (readonly [location: string, path: string])[];
    }
  | { readonly kind: 'dataset'; readonly path: string };

/** What a thread answers. */
export const InspectionReply = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('model'), summary: ModelSummaryField }),
  z.object({ kind: z.literal('dataset'), summary: DatasetSummaryField }),
  z.object({ kind: z.literal('error'), code: z.string(), message: z.string() }),
]);
export type InspectionReply = z.infer<typeof InspectionReply>;

export interface InspectorOptions {
  /** Threads at once. */
  readonly threads?: number;
  /** Files that may wait for a thread before new ones are refused. */
  readonly maxWaiting?: number;
  /** After this long the thread is ended, whatever it does. */
  readonly timeoutMs?: number;
  /** JavaScript heap of one thread. File contents lie outside of it. */
  readonly heapMegabytes?: number;
}

interface Waiting {
  readonly task: InspectionTask;
  resolve(reply: InspectionReply): void;
  reject(error: unknown): void;
}

/**
 * Reads uploaded files in threads of their own, with a limit on time and heap, so that a hostile one can neither stall
 * nor kill the API. The threads run plain JavaScript only (no ONNX Runtime), so ending one is safe; they have no
 * environment, and are kept for the next file unless one had to be ended.
 */
export class Inspector {
  readonly #idle: Worker[] = [];
  readonly #all = new Set<Worker>();
  readonly #waiting: Waiting[] = [];
  readonly #threads: number;
  readonly #maxWaiting: number;
  readonly #timeoutMs: number;
  readonly #heapMegabytes: number;
  #busy = 0;

  constructor(options: InspectorOptions = {}) {
    this.#threads = options.threads ?? 2;
    this.#maxWaiting = options.maxWaiting ?? 256;
    this.#timeoutMs = options.timeoutMs ?? 60_000;
    this.#heapMegabytes = options.heapMegabytes ?? 1024;
  }

  /** @throws CompressionError the codec's codes; MODEL_LIMIT when reading takes too long or too much memory */
  async model(path: string, external: ReadonlyMap<string, string>): Promise<ModelSummaryField> {
    const reply = await this.#run({ kind: 'model', path, external: [...external] });
    if (reply.kind !== 'model') throw new CompressionError('INTERNAL', `inspection answered ${reply.kind}`);
    return reply.summary;
  }

  /** @throws CompressionError DATASET_*; DATASET_LIMIT when reading takes too long or too much memory */
  async dataset(path: string): Promise<DatasetSummaryField> {
    const reply = await this.#run({ kind: 'dataset', path });
    if (reply.kind !== 'dataset') throw new CompressionError('INTERNAL', `inspection answered ${reply.kind}`);
    return reply.summary;
  }

  async close(): Promise<void> {
    for (const waiting of this.#waiting.splice(0))
      waiting.reject(new CompressionError('OVERLOADED', 'The service is shutting down; retry'));
    await Promise.all([...this.#all].map((worker) => worker.terminate()));
  }

  async #run(task: InspectionTask): Promise<InspectionReply> {
    const reply = await new Promise<InspectionReply>((resolve, reject) => {
      if (this.#waiting.length >= this.#maxWaiting) {
        reject(
          new CompressionError('OVERLOADED', 'Too many uploads are being read at once; retry later', {
            retryAfterSeconds: 5,
          }),
        );
        return;
      }
      this.#waiting.push({ task, resolve, reject });
      this.#next();
    });
    if (reply.kind !== 'error') return reply;
    throw new CompressionError(isErrorCode(reply.code) ? reply.code : 'INTERNAL', reply.message);
  }

  #next(): void {
    if (this.#busy >= this.#threads) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    this.#busy += 1;
    this.#inspect(waiting.task)
      .then((reply) => waiting.resolve(reply))
      .catch((error: unknown) => waiting.reject(error))
      .finally(() => {
        this.#busy -= 1;
        this.#next();
      });
  }

  async #inspect(task: InspectionTask): Promise<InspectionReply> {
    const worker = this.#idle.pop() ?? this.#start();
    worker.ref();
    const outcome = await this.#ask(worker, task);
    worker.unref();
    if ('reply' in outcome) {
      this.#idle.push(worker);
      return outcome.reply;
    }
    this.#all.delete(worker);
    await worker.terminate();
    throw outcome.error;
  }

  /** One question to a thread; an error means that the thread must not be used again. */
  async #ask(worker: Worker, task: InspectionTask): Promise<{ reply: InspectionReply } | { error: Error }> {
    const code = task.kind === 'model' ? 'MODEL_LIMIT' : 'DATASET_LIMIT';
    const ended = new AbortController();
    const outcome = new Promise<{ reply: InspectionReply } | { error: Error }>((resolve) => {
      const fail = (message: string): void => resolve({ error: new CompressionError(code, message) });
      const timer = setTimeout(() => fail(`Reading the file took more than ${this.#timeoutMs} ms`), this.#timeoutMs);
      const onMessage = (message: unknown): void => {
        const reply = InspectionReply.safeParse(message);
        resolve(reply.success ? { reply: reply.data } : { error: reply.error });
      };
      const onError = (error: Error): void => {
        if ('code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY')
          fail(`Reading the file needs more than ${this.#heapMegabytes} MB of memory`);
        else resolve({ error });
      };
      const onExit = (): void => fail('Reading the file ended the thread that read it');
      worker.once('message', onMessage).once('error', onError).once('exit', onExit);
      ended.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      });
    });
    worker.postMessage(task);
    try {
      return await outcome;
    } finally {
      ended.abort();
    }
  }

  #start(): Worker {
    const source = new URL(
      import.meta.url.endsWith('.ts') ? './inspection-thread.ts' : './inspection-thread.js',
      import.meta.url,
    );
    const options = {
      resourceLimits: { maxOldGenerationSizeMb: this.#heapMegabytes, stackSizeMb: 4 },
      env: {},
      stdin: false,
    };
    // Under tsx a thread does not inherit the loader, so it registers it itself; a build needs nothing of the kind.
    const worker = source.href.endsWith('.ts')
      ? new Worker(
          `import('tsx/esm/api').then((api) => { api.register(); return import(${JSON.stringify(source.href)}); })`,
          {
            ...options,
            eval: true,
          },
        )
      : new Worker(source, options);
    this.#all.add(worker);
    // While a thread is idle nobody else listens; one that dies then is only taken off the lists.
    worker.on('error', () => undefined);
    worker.on('exit', () => {
      this.#all.delete(worker);
      const place = this.#idle.indexOf(worker);
      if (place >= 0) this.#idle.splice(place, 1);
    });
    return worker;
  }
}
