import { betaDraw } from './beta.ts';
import { drawPerRow, type BatchMixing, type MixTarget } from './mixing.ts';

export interface MixupOptions {
  readonly alpha: number;
  readonly probability: number;
  readonly per: 'batch' | 'sample';
}

/**
 * x = lambda * x + (1 - lambda) * x[partner], with lambda from Beta(alpha, alpha). On preprocessed values: preprocessing
 * is affine, so mixing pixels first would give the same.
 * @see Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018
 */
export function mixup({ alpha, probability, per }: MixupOptions): BatchMixing {
  return {
    name: 'mixup',
    apply(targets, partner, draw) {
      const drawn = drawPerRow(per, partner.length, draw, (random) =>
        random.uniform() < probability ? betaDraw(alpha, random) : 1,
      );
      // Rounded once, so that inputs and labels are mixed by the same number.
      const lambda = Float32Array.from(drawn);
      for (const target of targets) blendRows(target, partner, lambda);
      return { partner, lambda };
    },
  };
}

/** O(n) time, a copy of the batch. */
export function blendRows({ data, length }: MixTarget, partner: Uint32Array, lambda: Float32Array): void {
  const original = data.slice();
  for (let row = 0; row < partner.length; row += 1) {
    const own = lambda[row] ?? 1;
    if (own === 1) continue;
    const other = (partner[row] ?? row) * length;
    const start = row * length;
    for (let i = 0; i < length; i += 1) {
      data[start + i] = own * (original[start + i] ?? 0) + (1 - own) * (original[other + i] ?? 0);
    }
  }
}
