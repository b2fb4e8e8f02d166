import { Worker } from 'node:worker_threads';
import { CompressionError, isErrorCode } from '../../errors.ts';
import type { FeedBatch, FeedSource } from '../../passes/pass.ts';
import type {
  PrefetchOrder,
  PrefetchReply,
  PrefetchTask,
  SentError,
  StreamReply,
  StreamRequest,
} from './prefetch-protocol.ts';
import type { TrainingBatch } from './training-batch.ts';
import type { TrainingSource, TrainingSourceInfo } from './training-source.ts';

export interface PrefetchOptions extends Omit<PrefetchTask, 'limits'> {
  /** Of reading the data set. Compressed arrays are never kept beside the source's own memory. */
  readonly limits?: PrefetchTask['limits'] | undefined;
  /** Batches that wait ready at most; default 3. Each takes its own memory beside the source's. */
  readonly depth?: number | undefined;
}

const DEFAULT_DEPTH = 3;
/** A thread that reads or decodes when it is closed gets this long to come to an end by itself. */
const CLOSE_MS = 5_000;

/**
 * `openTrainingSource` in a thread of its own, which reads, decodes and augments the next batches while this thread runs
 * a step: the same batches in the same order with the same bytes. The thread opens the data set at `path` itself. Close
 * the source to end the thread; it keeps the process alive only while somebody waits for a batch.
 *
 * @throws CompressionError as openTrainingSource; its batches also INTERNAL when the thread dies
 */
export async function openPrefetchedSource({
  depth = DEFAULT_DEPTH,
  limits = {},
  ...task
}: PrefetchOptions): Promise<TrainingSource> {
  if (!Number.isSafeInteger(depth) || depth < 1)
    throw new RangeError(`depth must be a whole number from 1, got ${depth}`);
  const thread = new PrefetchThread({ ...task, limits: { ...limits, memoryBudgetBytes: 0 } });
  try {
    return new PrefetchedSource(thread, await thread.ready, depth);
  } catch (error) {
    await thread.close();
    throw error;
  }
}

/** Replies of one stream, in order. */
class Inbox {
  readonly #replies: StreamReply[] = [];
  #waiting: { resolve(reply: StreamReply): void; reject(error: Error): void } | undefined;
  #failure: Error | undefined;

  put(reply: StreamReply): void {
    if (this.#waiting === undefined) this.#replies.push(reply);
    else this.#waiting.resolve(reply);
    this.#waiting = undefined;
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  take(): Promise<StreamReply> {
    const reply = this.#replies.shift();
    if (reply !== undefined) return Promise.resolve(reply);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }
}

class PrefetchThread {
  readonly ready: Promise<TrainingSourceInfo>;
  readonly #worker: Worker;
  readonly #inboxes = new Map<number, Inbox>();
  readonly #exited: Promise<void>;
  #failure: Error | undefined;
  #waiters = 0;

  constructor(task: PrefetchTask) {
    const worker = startWorker(task);
    this.#worker = worker;
    this.#exited = new Promise((resolve) => worker.once('exit', () => resolve()));
    this.ready = new Promise((resolve, reject) => {
      worker.on('message', (reply: PrefetchReply) => {
        if (reply.kind === 'ready') {
          worker.unref();
          resolve(reply.info);
        } else if (reply.kind === 'refused') {
          // After `ready` there is nobody to hear it but the streams.
          this.#fail(received(reply.error));
          reject(received(reply.error));
        } else this.#inboxes.get(reply.stream)?.put(reply);
      });
      const end = (error: Error): void => {
        this.#fail(error);
        reject(error);
      };
      worker.on('error', (error) => end(ended(`by an error: ${error.message}`, error)));
      worker.on('exit', (code) => end(ended(`with exit code ${code}`)));
    });
  }

  async *stream(id: number, request: StreamRequest, credits: number): AsyncGenerator<TrainingBatch | FeedBatch> {
    const inbox = new Inbox();
    if (this.#failure !== undefined) throw this.#failure;
    this.#inboxes.set(id, inbox);
    this.#post({ kind: 'start', stream: id, request, credits });
    let over = false;
    try {
      for (;;) {
        const reply = await this.#whileReferenced(() => inbox.take());
        if (reply.kind === 'batch') {
          this.#post({ kind: 'credit', stream: id });
          yield reply.batch;
          continue;
        }
        over = true;
        if (reply.kind === 'failed') throw received(reply.error);
        return;
      }
    } finally {
      this.#inboxes.delete(id);
      // A thread that has ended hears nothing, and minds nothing.
      if (!over) this.#post({ kind: 'stop', stream: id });
    }
  }

  async close(): Promise<void> {
    this.#post({ kind: 'close' });
    this.#worker.ref();
    const timer = setTimeout(() => void this.#worker.terminate(), CLOSE_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  async #whileReferenced<Value>(wait: () => Promise<Value>): Promise<Value> {
    this.#waiters += 1;
    if (this.#waiters === 1) this.#worker.ref();
    try {
      return await wait();
    } finally {
      this.#waiters -= 1;
      if (this.#waiters === 0) this.#worker.unref();
    }
  }

  #post(order: PrefetchOrder): void {
    this.#worker.postMessage(order);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const inbox of this.#inboxes.values()) inbox.fail(this.#failure);
  }
}

class PrefetchedSource implements TrainingSource {
  readonly info: TrainingSourceInfo;
  readonly #thread: PrefetchThread;
  readonly #depth: number;
  #streams = 0;

  constructor(thread: PrefetchThread, info: TrainingSourceInfo, depth: number) {
    this.#thread = thread;
    this.info = info;
    this.#depth = depth;
  }

  async *epoch(epoch: number, fromStep = 0): AsyncGenerator<TrainingBatch> {
    for await (const batch of this.#stream({ kind: 'epoch', epoch, fromStep })) {
      if (!('samples' in batch)) throw new CompressionError('INTERNAL', 'the prefetching thread mixed up its streams');
      yield batch;
    }
  }

  validation(pad = false): FeedSource | undefined {
    const { validationSamples, batchSize: usual } = this.info;
    if (validationSamples === 0) return undefined;
    return {
      samples: validationSamples,
      batches: (batchSize = usual) => this.#stream({ kind: 'validation', batchSize, pad }),
    };
  }

  close(): Promise<void> {
    return this.#thread.close();
  }

  #stream(request: StreamRequest): AsyncGenerator<TrainingBatch | FeedBatch> {
    this.#streams += 1;
    return this.#thread.stream(this.#streams, request, this.#depth);
  }
}

function startWorker(workerData: PrefetchTask): Worker {
  const compiled = !import.meta.url.endsWith('.ts');
  const file = new URL(compiled ? './prefetch-thread.js' : './prefetch-thread.ts', import.meta.url);
  if (compiled) return new Worker(file, { workerData, env: {} });
  // Under tsx a thread does not inherit the loader, so it registers it itself; a build needs nothing of the kind.
  // Resolved here: the working folder, which `eval` goes by, may be anywhere.
  const loader = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const source = `import(${loader}).then((api) => { api.register(); return import(${JSON.stringify(file.href)}); })`;
  return new Worker(source, { workerData, env: {}, eval: true });
}

function received({ code, message }: SentError): Error {
  return code !== undefined && isErrorCode(code) ? new CompressionError(code, message) : new Error(message);
}

function ended(how: string, cause?: Error): CompressionError {
  return new CompressionError(
    'INTERNAL',
    `The thread that prepares training batches ended ${how}; run the job again`,
    cause === undefined ? {} : { cause },
  );
}
