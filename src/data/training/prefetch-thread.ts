import { parentPort, workerData } from 'node:worker_threads';
import { CompressionError, messageOf } from '../../errors.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import type { FeedBatch } from '../../passes/pass.ts';
import { openDataset } from '../open-dataset.ts';
import type { PrefetchOrder, PrefetchReply, PrefetchTask, SentError, StreamRequest } from './prefetch-protocol.ts';
import type { TrainingBatch } from './training-batch.ts';
import { openTrainingSource, type TrainingSource } from './training-source.ts';

/** One stream's leave to send: batches wait here until the reader has taken others. */
class Credits {
  #free: number;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor(free: number) {
    this.#free = free;
  }

  /** @returns false once the reader has stopped */
  async take(): Promise<boolean> {
    while (this.#free === 0 && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#free -= 1;
    return !this.#stopped;
  }

  add(): void {
    this.#free += 1;
    this.#wake?.();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }
}

const port = parentPort;
if (port === null) throw new Error('prefetch-thread runs as a worker thread only');
const post = (reply: PrefetchReply, transfer: ArrayBuffer[] = []): void => port.postMessage(reply, transfer);

function sent(error: unknown): SentError {
  return { code: error instanceof CompressionError ? error.code : undefined, message: messageOf(error) };
}

function arraysOf(batch: TrainingBatch | FeedBatch): NdArray[] {
  const arrays = [...Object.values(batch.feeds), ...(batch.labels === undefined ? [] : [batch.labels])];
  return 'mixed' in batch ? [...arrays, batch.mixed.labels, batch.mixed.lambda] : arrays;
}

/** A batch's arrays are its own: they move to the other thread, nothing is copied. */
function buffersOf(batch: TrainingBatch | FeedBatch): ArrayBuffer[] {
  const buffers = arraysOf(batch).map(({ data }) => ('buffer' in data ? data.buffer : undefined));
  return [...new Set(buffers)].filter((buffer) => buffer instanceof ArrayBuffer);
}

function open(source: TrainingSource, request: StreamRequest): AsyncIterable<TrainingBatch | FeedBatch> {
  if (request.kind === 'epoch') return source.epoch(request.epoch, request.fromStep);
  const feeds = source.validation(request.pad);
  if (feeds === undefined) throw new CompressionError('INTERNAL', 'the source has no samples for validation');
  return feeds.batches(request.batchSize);
}

async function send(source: TrainingSource, stream: number, request: StreamRequest, credits: Credits): Promise<void> {
  try {
    for await (const batch of open(source, request)) {
      if (!(await credits.take())) return;
      post({ kind: 'batch', stream, batch }, buffersOf(batch));
    }
    post({ kind: 'end', stream });
  } catch (error) {
    post({ kind: 'failed', stream, error: sent(error) });
  }
}

async function serve({ path, limits, role, modelInputs, options }: PrefetchTask): Promise<void> {
  const dataset = await openDataset(path, limits);
  try {
    const source = await openTrainingSource(dataset, role, modelInputs, options);
    const streams = new Map<number, { readonly credits: Credits; readonly done: Promise<void> }>();
    const closed = new Promise<void>((resolve) => {
      port?.on('message', (order: PrefetchOrder) => {
        if (order.kind === 'close') {
          for (const { credits } of streams.values()) credits.stop();
          resolve();
        } else if (order.kind === 'start') {
          const { stream, request } = order;
          const credits = new Credits(order.credits);
          const done = send(source, stream, request, credits).finally(() => streams.delete(stream));
          streams.set(stream, { credits, done });
        } else if (order.kind === 'credit') streams.get(order.stream)?.credits.add();
        else streams.get(order.stream)?.credits.stop();
      });
    });
    post({ kind: 'ready', info: source.info });
    await closed;
    await Promise.all([...streams.values()].map(({ done }) => done));
    await source.close();
  } finally {
    await dataset.close();
  }
}

// What this file starts the thread with; see prefetch.ts.
serve(workerData as PrefetchTask)
  .catch((error: unknown) => post({ kind: 'refused', error: sent(error) }))
  .finally(() => port.close());
