import type { SeededRandom } from '../../seeded-random.ts';

/** How a sample of a batch is mixed: `lambda` of itself, the rest of row `partner`. */
export interface MixPlan {
  readonly partner: Uint32Array;
  /** Share of the sample itself, 0..1, one a row. */
  readonly lambda: Float32Array;
}

/** Images of one input of a batch, one after the other. */
export interface MixTarget {
  readonly data: Float32Array | Float64Array;
  /** Elements a sample. */
  readonly length: number;
  /** Undefined for inputs that are no images. */
  readonly image: ImageGeometry | undefined;
}

export interface ImageGeometry {
  readonly layout: 'nchw' | 'nhwc';
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Mixes the samples of a batch with one another. */
export interface BatchMixing {
  readonly name: 'mixup' | 'cutmix';
  /**
   * Mixes in place; the plan's `lambda` is what the labels are to be mixed by.
   * @param draw - the batch's generator, and each sample's own
   */
  apply(targets: readonly MixTarget[], partner: Uint32Array, draw: MixDraw): MixPlan;
}

export interface MixDraw {
  readonly batch: SeededRandom;
  sample(row: number): SeededRandom;
}

/** No row is mixed. */
export function unmixed(partner: Uint32Array): MixPlan {
  return { partner, lambda: new Float32Array(partner.length).fill(1) };
}

/**
 * One draw a row: the same one for all (`batch`), or each sample's own.
 */
export function drawPerRow<Value>(
  per: 'batch' | 'sample',
  rows: number,
  draw: MixDraw,
  make: (random: SeededRandom) => Value,
): Value[] {
  if (per === 'sample') return Array.from({ length: rows }, (_, row) => make(draw.sample(row)));
  const shared = make(draw.batch);
  return new Array<Value>(rows).fill(shared);
}
