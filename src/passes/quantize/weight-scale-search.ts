import { roundHalfEven } from '../../numerics/round-half-even.ts';
import type { QuantRange } from './quant-type.ts';
import type { ChannelLayout } from './weights.ts';

/** Steps of one percent by which the scale shrinks. */
const SHRINK_STEPS = 80;

/**
 * The scale of a channel with the least squared error of its rounded weights, shrunk in steps of one percent. With 16 or 4 codes it
 * pays to clip the outermost weights for finer steps everywhere else. O(80 n).
 *
 * @param scale - covers all weights
 * @param grid - codes, and the one that stands for 0
 * @see Frantar et al., "GPTQ", ICLR 2023 (the authors' code searches so); Choukroun et al., "Low-bit Quantization of Neural Networks
 *   for Efficient Inference", 2019
 */
export function leastErrorScale(
  values: Float32Array,
  { outer, channels, inner }: ChannelLayout,
  channel: number,
  grid: { readonly scale: number; readonly zeroPoint: number; readonly range: QuantRange },
): number {
  const low = grid.range[0] - grid.zeroPoint;
  const high = grid.range[1] - grid.zeroPoint;
  let best = grid.scale;
  let leastError = Infinity;
  for (let step = 0; step < SHRINK_STEPS; step += 1) {
    const scale = Math.fround(grid.scale * (1 - step / 100));
    let error = 0;
    for (let o = 0; o < outer && error < leastError; o += 1) {
      const from = (o * channels + channel) * inner;
      for (let i = from; i < from + inner; i += 1) {
        const value = values[i] ?? 0;
        const code = roundHalfEven(value / scale);
        const difference = value - (code < low ? low : code > high ? high : code) * scale;
        error += difference * difference;
      }
    }
    if (error >= leastError) continue;
    leastError = error;
    best = scale;
  }
  return best;
}
