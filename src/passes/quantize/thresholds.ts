import type { HistogramObservation } from '../observe.ts';
import { affineParams } from './affine.ts';
import type { QuantRange } from './quant-type.ts';

/** An interval of real values that a quantizer covers. */
export interface Interval {
  readonly min: number;
  readonly max: number;
}

/**
 * Cuts outliers: the interval that holds `percentile` percent of the values. Symmetric: the magnitude that so many stay
 * below; otherwise half of the rest is cut on each side. A cut lies at the outer edge of its bin, never inside a kept
 * one, and not beyond the extremes.
 *
 * @param percentile - above 0, at most 100
 */
export function percentileInterval(histogram: HistogramObservation, percentile: number, symmetric: boolean): Interval {
  const { binWidth, firstBin, counts, min, max } = histogram;
  if (symmetric) {
    const magnitudes = foldMagnitudes(histogram);
    const last = quantileBin(magnitudes, percentile / 100);
    const limit = (last + 1) * binWidth;
    return { min: Math.max(min, -limit), max: Math.min(max, limit) };
  }
  const tail = (100 - percentile) / 200;
  const low = counts.length - 1 - quantileBin(counts.toReversed(), 1 - tail);
  const high = quantileBin(counts, 1 - tail);
  return {
    min: Math.max(min, (firstBin + low) * binWidth),
    max: Math.min(max, (firstBin + high + 1) * binWidth),
  };
}

/** Index of the bin where the running share first reaches `share`. */
function quantileBin(counts: Float64Array, share: number): number {
  let total = 0;
  for (const count of counts) total += count;
  let running = 0;
  for (let bin = 0; bin < counts.length; bin += 1) {
    running += counts[bin] ?? 0;
    // Less than one value in 2^40 is rounding of `share * total`, not a value to cut.
    if (running >= share * total * (1 - 2 ** -40)) return bin;
  }
  return counts.length - 1;
}

/** Counts by |value|: bin i holds magnitudes in [i, i + 1) * binWidth, negative ones by their nearer edge to zero. */
function foldMagnitudes({ firstBin, counts }: HistogramObservation): Float64Array {
  const lastBin = firstBin + counts.length - 1;
  const folded = new Float64Array(Math.max(lastBin + 1, -firstBin, 1));
  counts.forEach((count, index) => {
    const bin = firstBin + index;
    const magnitude = bin >= 0 ? bin : -bin - 1;
    folded[magnitude] = (folded[magnitude] ?? 0) + count;
  });
  return folded;
}

/** Levels that a candidate distribution is merged to, and the least bins a candidate has. */
const LEVELS = 128;
/** Every eighth of the 2048 candidates: neighbours differ by less than their histograms' noise. */
const CANDIDATE_STEP = 8;
/** Stands for a count of zero: a divergence must stay finite where the merged distribution has nothing. */
const SMOOTHING = 1e-4;
/**
 * What is cut are outliers, at most this share of the values. The divergence does not see to it: where one value is frequent (a
 * background, a padded border), what lies beyond it falls onto its bin and makes that bin only a little larger.
 */
const MOST_CUT = 0.01;

/**
 * The threshold on |value| at which merging to 128 levels loses the least information: for each candidate the values
 * beyond it fall onto its last bin, the bins are merged to 128 levels and spread over the bins that had counts, and the
 * Kullback-Leibler divergence of the two is taken. No candidate cuts more than one value of a hundred.
 *
 * @see Migacz, "8-bit Inference with TensorRT", GTC 2017
 */
export function entropyInterval(histogram: HistogramObservation): Interval {
  const counts = foldMagnitudes(histogram);
  // Behind a Relu most values are exactly 0, which every quantizer keeps: they say nothing about the threshold.
  counts[0] = Math.min(counts[0] ?? 0, counts[1] ?? 0);
  let total = 0;
  for (const count of counts) total += count;
  let best = counts.length;
  let bestDivergence = Infinity;
  let beyond = 0;
  for (const count of counts.subarray(Math.min(LEVELS, counts.length))) beyond += count;
  const candidates: number[] = [];
  for (let bins = LEVELS; bins < counts.length; bins += CANDIDATE_STEP) candidates.push(bins);
  candidates.push(counts.length);
  let from = LEVELS;
  for (const bins of candidates) {
    if (bins < LEVELS) break;
    for (; from < bins; from += 1) beyond -= counts[from] ?? 0;
    if (beyond > MOST_CUT * total) continue;
    const divergence = divergenceAt(counts, bins, Math.max(beyond, 0));
    if (divergence < bestDivergence) {
      bestDivergence = divergence;
      best = bins;
    }
  }
  const limit = best * histogram.binWidth;
  return { min: Math.max(histogram.min, -limit), max: Math.min(histogram.max, limit) };
}

/** KL(P || Q) for the first `bins` bins, with `beyond` values added to the last. O(bins). */
function divergenceAt(counts: Float64Array, bins: number, beyond: number): number {
  const merged = bins / LEVELS;
  let totalP = 0;
  for (let bin = 0; bin < bins; bin += 1) totalP += counts[bin] ?? 0;
  const totalQ = totalP;
  totalP += beyond;
  if (totalP === 0 || totalQ === 0) return Infinity;
  let divergence = 0;
  for (let level = 0; level < LEVELS; level += 1) {
    const start = Math.floor(level * merged);
    const end = level === LEVELS - 1 ? bins : Math.floor((level + 1) * merged);
    let sum = 0;
    let nonzero = 0;
    for (let bin = start; bin < end; bin += 1) {
      const count = counts[bin] ?? 0;
      sum += count;
      if (count > 0 || (bin === bins - 1 && beyond > 0)) nonzero += 1;
    }
    const spread = nonzero === 0 ? 0 : sum / nonzero;
    for (let bin = start; bin < end; bin += 1) {
      const p = (counts[bin] ?? 0) + (bin === bins - 1 ? beyond : 0);
      if (p === 0) continue;
      divergence += (p / totalP) * Math.log(p / totalP / Math.max(spread / totalQ, SMOOTHING / totalQ));
    }
  }
  return divergence;
}

/** Steps of one percent by which the interval shrinks, and the power of the error that is summed. */
const SHRINK_STEPS = 80;
const ERROR_POWER = 2.4;

/**
 * The interval with the least summed error |x - quantized x|^2.4, shrunk in steps of one percent: both ends together
 * first, then each end alone. The power above 2 weighs clipped values a little more, which nets are sensitive to.
 *
 * @see Nahshan et al., "Loss Aware Post-training Quantization", 2019 (the search); Li et al., "BRECQ", ICLR 2021 (the power)
 */
export function mseInterval(histogram: HistogramObservation, range: QuantRange, symmetric: boolean): Interval {
  const { min, max } = histogram;
  let best: Interval = { min: Math.min(min, 0), max: Math.max(max, 0) };
  let bestError = errorOf(histogram, best, range, symmetric);
  const attempt = (low: number, high: number): void => {
    const interval = { min: low, max: high };
    const error = errorOf(histogram, interval, range, symmetric);
    if (error < bestError) {
      bestError = error;
      best = interval;
    }
  };
  const full = best;
  for (let step = 1; step < SHRINK_STEPS; step += 1) {
    const keep = 1 - step / 100;
    attempt(full.min * keep, full.max * keep);
  }
  if (symmetric || full.min === 0 || full.max === 0) return best;
  const both = best;
  for (let step = 1; step < SHRINK_STEPS; step += 1) attempt(full.min * (1 - step / 100), both.max);
  const lowDone = best;
  for (let step = 1; step < SHRINK_STEPS; step += 1) attempt(lowDone.min, full.max * (1 - step / 100));
  return best;
}

/** Error of the bin centres, weighted by their counts. O(bins). */
function errorOf(histogram: HistogramObservation, interval: Interval, range: QuantRange, symmetric: boolean): number {
  const { scale, zeroPoint } = affineParams(interval.min, interval.max, range, symmetric);
  const [qmin, qmax] = range;
  const low = (qmin - zeroPoint) * scale;
  const high = (qmax - zeroPoint) * scale;
  const { binWidth, firstBin, counts } = histogram;
  let error = 0;
  for (let index = 0; index < counts.length; index += 1) {
    const count = counts[index] ?? 0;
    if (count === 0) continue;
    const bin = firstBin + index;
    // The bin at zero holds exact zeros (behind a Relu most of its values), which every quantizer keeps.
    const value = bin === 0 ? 0 : (bin + 0.5) * binWidth;
    const clipped = value < low ? low : value > high ? high : Math.round(value / scale) * scale;
    error += count * Math.abs(value - clipped) ** ERROR_POWER;
  }
  return error;
}
