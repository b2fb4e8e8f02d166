import type { Algorithm } from './options.ts';

/** One quantized weight, for the step report. */
export interface LayerReport {
  readonly nodes: readonly string[];
  readonly operator: string;
  readonly weight: string;
  readonly shape: readonly number[];
  readonly bits: number;
  readonly blockSize: number;
  /** What the weight was rounded by: rounding to nearest where the algorithm asked for did worse. */
  readonly algorithm: Algorithm;
  /** Why another algorithm than the one asked for. */
  readonly reason?: string;
  /** Squared change of the weights as a share of their squares. */
  readonly weightError: number;
  /** Squared change of the layer's outputs as a share of their squares, over the calibration data: rounded to nearest, and as stored. */
  readonly outputError?: { readonly before: number; readonly after: number };
  /** AWQ's exponent, and whether the division of the inputs went into the operator before (else a Mul was added). */
  readonly inputScales?: { readonly ratio: number; readonly folded: boolean };
  /** Share of the blocks whose range AWQ's search for a clipping chose. */
  readonly clippedBlockShare?: number;
  readonly bytes: { readonly before: number; readonly after: number };
}
