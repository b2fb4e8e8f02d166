import { hashKey } from '../../../data/training/keyed-random.ts';
import { SeededRandom } from '../../../data/seeded-random.ts';

/** One number an element: the lowest are zeroed first. What is zero already comes before everything else. */
export type Scores = Float64Array;

/** Scores that need nothing but the weights. */
export type DataFreeMethod = 'magnitude' | 'random' | 'lamp';

/** Says "zeroed before all others". */
export const ALREADY_ZERO = -Infinity;

/**
 * @param order - number of the weight within the model, so that each draws its own random numbers
 */
export function dataFreeScores(
  method: DataFreeMethod,
  weights: Float32Array,
  { seed, order }: { readonly seed: number; readonly order: number },
): Scores {
  switch (method) {
    case 'magnitude':
      return magnitudeScores(weights);
    case 'lamp':
      return lampScores(weights);
    case 'random':
      return randomScores(weights, hashKey(seed, order));
  }
}

/** |w|. @see Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015 */
function magnitudeScores(weights: Float32Array): Scores {
  const scores = new Float64Array(weights.length);
  for (let i = 0; i < scores.length; i += 1) {
    const weight = weights[i] ?? 0;
    scores[i] = weight === 0 ? ALREADY_ZERO : Math.abs(weight);
  }
  return scores;
}

/** Uniform in [0, 1). */
export function randomScores(weights: Float32Array, seed: number): Scores {
  const random = new SeededRandom(seed);
  const scores = new Float64Array(weights.length);
  for (let i = 0; i < scores.length; i += 1) {
    const drawn = random.uniform();
    scores[i] = weights[i] === 0 ? ALREADY_ZERO : drawn;
  }
  return scores;
}

/**
 * w_i² over the sum of the squares that are no smaller, within the layer: scores of different layers can be compared, and the
 * largest weight of each has score 1. Of equal weights the one with the lower index counts as the smaller. O(n log n).
 *
 * @see Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021, eq. 5
 */
export function lampScores(weights: Float32Array): Scores {
  const order = ascendingByMagnitude(weights);
  const scores = new Float64Array(weights.length);
  let sum = 0;
  for (let rank = order.length - 1; rank >= 0; rank -= 1) {
    const index = order[rank] ?? 0;
    const square = (weights[index] ?? 0) ** 2;
    sum += square;
    scores[index] = square === 0 ? ALREADY_ZERO : square / sum;
  }
  return scores;
}

/** Indices by |w|, then by index. Keys sort several times as fast as a comparison function does. */
function ascendingByMagnitude(weights: Float32Array): Uint32Array {
  const bits = new Uint32Array(weights.buffer, weights.byteOffset, weights.length);
  const keys = new Float64Array(weights.length);
  // Bits of positive floats order like the numbers. 31 of them and 21 of the index fit the 53 bits of a double.
  if (weights.length <= 2 ** 21) {
    for (let i = 0; i < keys.length; i += 1) keys[i] = ((bits[i] ?? 0) & 0x7fffffff) * 2 ** 21 + i;
    keys.sort();
    return Uint32Array.from(keys, (key) => key % 2 ** 21);
  }
  const order = Uint32Array.from(weights, (_, i) => i);
  return order.sort((a, b) => Math.abs(weights[a] ?? 0) - Math.abs(weights[b] ?? 0) || a - b);
}
