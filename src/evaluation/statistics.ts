import { erfc } from '../numerics/erfc.ts';

/** A closed interval [low, high]. */
export type Interval = readonly [number, number];

/** All intervals of the report hold at this level. */
export const CONFIDENCE_LEVEL = 0.95;
/** Two-sided quantile of the standard normal distribution for 95 %. */
export const Z95 = 1.959963984540054;

/**
 * Wilson score interval of a proportion: stays inside [0, 1] and is honest near its ends, where the usual
 * p +- z*sqrt(p(1-p)/n) claims certainty for 100 of 100.
 *
 * @param successes - 0..samples
 * @throws RangeError when samples is 0 or successes lies outside 0..samples
 * @see Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927
 */
export function wilsonInterval(successes: number, samples: number, z = Z95): Interval {
  if (samples < 1 || successes < 0 || successes > samples) {
    throw new RangeError(`wilsonInterval: ${successes} successes of ${samples} samples is no proportion`);
  }
  const share = successes / samples;
  const z2 = z * z;
  const scale = 1 + z2 / samples;
  const center = (share + z2 / (2 * samples)) / scale;
  const half = (z * Math.sqrt((share * (1 - share)) / samples + z2 / (4 * samples * samples))) / scale;
  // At the ends the bound is 0 or 1 exactly; rounding must not push it a hair inside or outside.
  return [successes === 0 ? 0 : Math.max(0, center - half), successes === samples ? 1 : Math.min(1, center + half)];
}

export interface McNemarTest {
  readonly method: 'mcnemar-exact' | 'mcnemar-chi-square';
  /** Exact: the smaller discordant count. Chi-square: the statistic with continuity correction. */
  readonly statistic: number;
  readonly pValue: number;
}

/** Discordant pairs up to which the binomial sum is used. */
const EXACT_LIMIT = 10_000;

/**
 * McNemar's test of paired proportions: could the two models be equally good, given how many samples only one of them
 * got right? Samples that both get right or both get wrong say nothing and do not enter.
 *
 * @param onlyFirst - samples only the first model got right
 * @param onlySecond - samples only the second model got right
 * @returns two-sided p-value; 1 when there is no discordant sample
 * @see McNemar, Psychometrika 1947; Edwards' continuity correction for the chi-square form
 */
export function mcNemar(onlyFirst: number, onlySecond: number): McNemarTest {
  const discordant = onlyFirst + onlySecond;
  if (discordant <= EXACT_LIMIT) {
    const smaller = Math.min(onlyFirst, onlySecond);
    return {
      method: 'mcnemar-exact',
      statistic: smaller,
      pValue: Math.min(1, 2 * binomialHalfCdf(smaller, discordant)),
    };
  }
  const gap = Math.max(0, Math.abs(onlyFirst - onlySecond) - 1);
  const statistic = (gap * gap) / discordant;
  return { method: 'mcnemar-chi-square', statistic, pValue: erfc(Math.sqrt(statistic / 2)) };
}

/** P(X <= k) for X ~ Binomial(n, 1/2), summed in logarithms so that 0.5^n does not underflow. */
function binomialHalfCdf(k: number, n: number): number {
  let logTerm = -n * Math.LN2;
  let sum = Math.exp(logTerm);
  for (let i = 1; i <= k; i += 1) {
    logTerm += Math.log((n - i + 1) / i);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, sum);
}

/**
 * Interval of the difference p2 - p1 of two proportions measured on the same samples.
 *
 * @param onlyFirst - samples only the first got right
 * @param onlySecond - samples only the second got right
 * @see Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
 * data", JEBS 2012: Wald with one success added to each discordant cell
 */
export function pairedDifferenceInterval(onlyFirst: number, onlySecond: number, samples: number, z = Z95): Interval {
  const n = samples + 2;
  const first = (onlyFirst + 1) / n;
  const second = (onlySecond + 1) / n;
  const difference = second - first;
  const half = z * Math.sqrt(Math.max(0, first + second - difference * difference) / n);
  return [Math.max(-1, difference - half), Math.min(1, difference + half)];
}

/** Mean and the 95 % interval of the mean by the normal approximation, for many samples (n >= 30, say). */
export function meanInterval(values: ArrayLike<number>, z = Z95): { mean: number; interval: Interval } {
  const n = values.length;
  if (n === 0) throw new RangeError('meanInterval: no values');
  let mean = 0;
  let squares = 0;
  for (let i = 0; i < n; i += 1) {
    const value = values[i] ?? 0;
    const delta = value - mean;
    mean += delta / (i + 1);
    squares += delta * (value - mean);
  }
  const half = n < 2 ? Infinity : z * Math.sqrt(squares / (n - 1) / n);
  return { mean, interval: [mean - half, mean + half] };
}

/** The q-quantile (0..1) of ascending values, linear between neighbours (numpy's default, type 7). */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  if (sorted.length === 0) throw new RangeError('quantile: no values');
  const position = (sorted.length - 1) * q;
  const below = Math.floor(position);
  const low = sorted[below] ?? NaN;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] ?? NaN;
  return low + (high - low) * (position - below);
}

export function median(values: ArrayLike<number>): number {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

/** Standard deviation (n - 1) over mean; 0 for a single value. */
export function coefficientOfVariation(values: ArrayLike<number>): number {
  const n = values.length;
  if (n < 2) return 0;
  let sum = 0;
  for (let i = 0; i < n; i += 1) sum += values[i] ?? 0;
  const mean = sum / n;
  let squares = 0;
  for (let i = 0; i < n; i += 1) squares += ((values[i] ?? 0) - mean) ** 2;
  return mean === 0 ? 0 : Math.sqrt(squares / (n - 1)) / Math.abs(mean);
}

/** A seeded generator of uniform numbers in [0, 1) (mulberry32), for resampling. */
export function seededUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Percentile bootstrap interval (95 %) of the median. Seeded: the same values give the same interval.
 * O(resamples * n log n).
 */
export function bootstrapMedianInterval(values: readonly number[], seed: number, resamples = 2000): Interval {
  const uniform = seededUniform(seed);
  const medians = new Float64Array(resamples);
  const draw = new Float64Array(values.length);
  for (let r = 0; r < resamples; r += 1) {
    for (let i = 0; i < draw.length; i += 1) draw[i] = values[Math.floor(uniform() * values.length)] ?? 0;
    draw.sort();
    medians[r] = quantile(draw, 0.5);
  }
  medians.sort();
  return [quantile(medians, 0.025), quantile(medians, 0.975)];
}
