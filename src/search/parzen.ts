import type { SeededRandom } from '../data/seeded-random.ts';
import { erfc } from '../numerics/erfc.ts';

/** The density of one dimension, estimated from the coordinates of some trials. */
export interface Estimator {
  sample(rng: SeededRandom): number;
  /** Natural logarithm of the density (of the probability, for a discrete dimension). */
  logDensity(coordinate: number): number;
}

/**
 * Probabilities of values without order: how often each was observed, plus one observation spread evenly over all.
 * @param count - number of values
 * @see Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, section 4.2 (the re-weighted prior)
 */
export function categoricalEstimator(observed: readonly number[], count: number): Estimator {
  const weights = new Float64Array(count).fill(1 / count);
  for (const value of observed) weights[value] = (weights[value] ?? 0) + 1;
  const total = observed.length + 1;
  return {
    sample(rng) {
      let left = rng.uniform() * total;
      for (let value = 0; value < count; value += 1) {
        left -= weights[value] ?? 0;
        if (left < 0) return value;
      }
      return count - 1;
    },
    logDensity: (value) => Math.log((weights[value] ?? 0) / total),
  };
}

/**
 * A mixture of normals cut off at the ends of the range: one around each observation, as wide as the larger distance to its
 * neighbours, and one for the prior, over all of it. With `count` values the range is theirs, and each has the mass of its cell.
 *
 * @param observed - coordinates: 0 .. 1 for a real, 0 .. count - 1 for ordered values
 * @param count - number of values; Infinity for a real
 * @see Bergstra et al. 2011, section 4.2
 */
export function parzenEstimator(observed: readonly number[], count: number): Estimator {
  const discrete = count < Infinity;
  const [low, high] = discrete ? [-0.5, count - 0.5] : [0, 1];
  const width = high - low;
  const middle = (low + high) / 2;
  const means = [...observed, middle].sort((a, b) => a - b);
  const prior = means.indexOf(middle);
  const narrowest = width / Math.min(100, means.length + 1);
  const kernels = means.map((mean, i): Kernel => {
    const room = Math.max(mean - (means[i - 1] ?? low), (means[i + 1] ?? high) - mean);
    return kernel(mean, i === prior ? width : Math.min(width, Math.max(narrowest, room)), low, high);
  });
  const logDensity = (coordinate: number): number => {
    let sum = 0;
    for (const { mean, deviation, mass } of kernels) {
      const z = (coordinate - mean) / deviation;
      sum += discrete
        ? (normalCdf(z + 0.5 / deviation) - normalCdf(z - 0.5 / deviation)) / mass
        : Math.exp(-0.5 * z * z) / (deviation * Math.sqrt(2 * Math.PI) * mass);
    }
    return Math.log(sum / kernels.length);
  };
  // Few values are asked for again and again.
  const known = new Map<number, number>();
  return {
    sample(rng) {
      const { mean, deviation } =
        kernels[Math.floor(rng.uniform() * kernels.length)] ?? kernel(middle, width, low, high);
      for (;;) {
        const drawn = mean + deviation * rng.normal();
        if (drawn < low || drawn >= high) continue;
        return discrete ? Math.min(count - 1, Math.max(0, Math.round(drawn))) : drawn;
      }
    },
    logDensity(coordinate) {
      if (!discrete) return logDensity(coordinate);
      const value = known.get(coordinate) ?? logDensity(coordinate);
      known.set(coordinate, value);
      return value;
    },
  };
}

interface Kernel {
  readonly mean: number;
  readonly deviation: number;
  /** Share of the normal that lies in the range. */
  readonly mass: number;
}

function kernel(mean: number, deviation: number, low: number, high: number): Kernel {
  return { mean, deviation, mass: normalCdf((high - mean) / deviation) - normalCdf((low - mean) / deviation) };
}

function normalCdf(z: number): number {
  return erfc(-z / Math.SQRT2) / 2;
}
