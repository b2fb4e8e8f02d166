import type { DataType } from '../onnx/data-type.ts';
import type { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';

/** Named arrays, as a session takes and gives them. */
export type Feeds = Readonly<Record<string, NdArray>>;
export type Results = ReadonlyMap<string, NdArray>;

export interface SessionOptions {
  /** Intra-operator threads; the job's share. */
  readonly threads: number;
  /** ONNX Runtime's graph optimization level; default `all`. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all';
  /** Whether idle pool threads spin. Off by default: two live pools on shared cores distort each other 2-3x. */
  readonly spinning?: boolean;
  /**
   * Whether memory is laid out ahead from the sizes of the first run. Default true. Off, a step of training takes 25 to 45 %
   * less memory (the first run's stays allocated beside the planned one) in the same time.
   */
  readonly memoryPattern?: boolean;
  /** Sizes for symbolic dimensions, by name. */
  readonly freeDimensions?: Readonly<Record<string, number>>;
  /** Where ONNX Runtime writes the optimized model, for fusion checks. */
  readonly optimizedModelPath?: string;
  /** Writes a profile with this prefix; `Session.endProfiling` returns after the file is written. */
  readonly profilePrefix?: string;
}

export interface SessionValue {
  readonly name: string;
  readonly type: DataType;
  /** Fixed sizes, symbol names, or null. */
  readonly shape: readonly (number | string | null)[];
}

export interface Session {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  /**
   * Runs once; with `outputs`, computes only those. With `targets`, writes those outputs into the arrays given for them
   * (no copy, nothing allocated) and returns the ones named in `outputs` besides.
   *
   * A target has its output's type and shape, and is no memory of a feed: a node may read a feed after an output is written.
   *
   * @throws CompressionError MODEL_RUN
   */
  run(feeds: Feeds, outputs?: readonly string[], targets?: Feeds): Promise<Results>;
  endProfiling(): void;
  release(): Promise<void>;
}

/** What passes and evaluation get: the way to run a model without importing ONNX Runtime. */
export interface Runtime {
  /** `onnxruntime-node 1.30.0`, say; part of the report's environment. */
  readonly version: string;
  /** Loads our IR (written to the private folder first when large) or a file. @throws CompressionError MODEL_LOAD */
  createSession(model: Model | { readonly path: string }, options: SessionOptions): Promise<Session>;
}
