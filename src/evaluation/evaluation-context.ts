import type { Model } from '../onnx/model.ts';
import type { FeedSource } from '../passes/pass.ts';
import type { Runtime } from '../runtime/session.ts';
import type { Metric } from './accuracy.ts';

/** A model with the file it was written to. The file is what is measured: it is what the client gets. */
export interface Subject {
  readonly model: Model;
  readonly path: string;
  readonly sha256?: string;
}

export interface EvaluationContext {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly seed: number;
  /** Existing private folder for temporary files. */
  readonly folder: string;
  /** The evaluation role of the job. */
  readonly data?: FeedSource;
  /** Inputs made up from the model's types: they stand in for latency and fidelity when there is no evaluation data. */
  readonly generated?: FeedSource;
  readonly metric?: Metric;
  /** By class index. */
  readonly classNames?: readonly string[];
  /** Time for timing each model. Default 4 s. */
  readonly latencyBudgetMs?: number;
  /** Batch sizes to time besides 1. */
  readonly latencyBatches?: readonly number[];
  readonly signal?: AbortSignal;
  readonly progress?: (fraction: number, message: string) => void;
}

export interface NotMeasured {
  readonly name: string;
  readonly reason: string;
}
