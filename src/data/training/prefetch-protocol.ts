import type { ValueInfo } from '../../onnx/value-type.ts';
import type { FeedBatch } from '../../passes/pass.ts';
import type { BindRole } from '../bind-feeds.ts';
import type { DataLimits } from '../limits.ts';
import type { TrainingBatch } from './training-batch.ts';
import type { TrainingOptions, TrainingSourceInfo } from './training-source.ts';

/** What the thread is started with. */
export interface PrefetchTask {
  readonly path: string;
  readonly limits: Partial<DataLimits>;
  readonly role: BindRole;
  readonly modelInputs: readonly ValueInfo[];
  readonly options: TrainingOptions;
}

/** A pass over batches. */
export type StreamRequest =
  | { readonly kind: 'epoch'; readonly epoch: number; readonly fromStep: number }
  | { readonly kind: 'validation'; readonly batchSize: number; readonly pad: boolean };

/** To the thread. It sends at most as many batches of a stream as it was given credits. */
export type PrefetchOrder =
  | { readonly kind: 'start'; readonly stream: number; readonly request: StreamRequest; readonly credits: number }
  | { readonly kind: 'credit'; readonly stream: number }
  | { readonly kind: 'stop'; readonly stream: number }
  | { readonly kind: 'close' };

export interface SentError {
  /** Of a CompressionError. */
  readonly code: string | undefined;
  readonly message: string;
}

/** From the thread. */
export type StreamReply =
  | { readonly kind: 'batch'; readonly stream: number; readonly batch: TrainingBatch | FeedBatch }
  | { readonly kind: 'end'; readonly stream: number }
  | { readonly kind: 'failed'; readonly stream: number; readonly error: SentError };

export type PrefetchReply =
  | { readonly kind: 'ready'; readonly info: TrainingSourceInfo }
  | { readonly kind: 'refused'; readonly error: SentError }
  | StreamReply;
