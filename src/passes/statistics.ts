import type {
  ChannelMeanObservation,
  ChannelRangeObservation,
  HistogramObservation,
  RangeObservation,
  Statistic,
} from './observe.ts';

/** Collects one statistic of one value over the batches of a run, in memory that does not grow with them. */
export type Accumulator = RangeAccumulator | HistogramAccumulator | ChannelMeanAccumulator | ChannelRangeAccumulator;

export function accumulatorOf(statistic: Statistic): Accumulator {
  switch (statistic.kind) {
    case 'minmax':
      return new RangeAccumulator(1);
    case 'moving-average':
      return new RangeAccumulator(statistic.constant);
    case 'histogram':
      return new HistogramAccumulator(statistic.bins);
    case 'channel-mean':
      return new ChannelMeanAccumulator(statistic.axis);
    case 'channel-range':
      return new ChannelRangeAccumulator(statistic.axis);
  }
}

/** Extremes of each batch, merged: nothing a batch showed is forgotten, unless a moving average is asked for. */
export class RangeAccumulator {
  readonly #constant: number;
  #min = Infinity;
  #max = -Infinity;

  /** @param constant - 1: the extremes of all batches; below 1: their moving average */
  constructor(constant: number) {
    this.#constant = constant;
  }

  addRange(min: number, max: number): void {
    if (this.#constant === 1 || this.#min > this.#max) {
      this.#min = Math.min(this.#min, min);
      this.#max = Math.max(this.#max, max);
    } else {
      this.#min += this.#constant * (min - this.#min);
      this.#max += this.#constant * (max - this.#max);
    }
  }

  result(): RangeObservation | undefined {
    return this.#min > this.#max ? undefined : { kind: 'range', min: this.#min, max: this.#max };
  }
}

/**
 * A histogram that grows with what it sees. Bins start at zero and have a power of two as width; when a value lies
 * outside, the width doubles and neighbours merge. Doubling a power of two is exact, so the result depends only on the
 * values, not on their order nor on how they were cut into batches.
 */
export class HistogramAccumulator {
  /** Bins on each side of zero. Twice what is asked for: after a doubling at least half of them are in use. */
  readonly #side: number;
  readonly #counts: Float64Array;
  #width = 0;
  #min = Infinity;
  #max = -Infinity;

  constructor(bins: number) {
    this.#side = 2 * bins;
    this.#counts = new Float64Array(2 * this.#side);
  }

  /** O(n), two passes over the values. NaN is not counted. */
  add(values: Float32Array): void {
    const { min, max } = extremesOf(values);
    if (min > max) return;
    this.#min = Math.min(this.#min, min);
    this.#max = Math.max(this.#max, max);
    if (!Number.isFinite(min) || !Number.isFinite(max)) return;
    this.#fit(Math.max(-min, max));
    countInto(this.#counts, values, 1 / this.#width, this.#side);
  }

  result(): HistogramObservation | undefined {
    if (this.#min > this.#max) return undefined;
    const side = this.#side;
    const binWidth = this.#width === 0 ? 1 : this.#width;
    const firstBin = Math.max(-side, Math.floor(this.#min / binWidth));
    const lastBin = Math.min(side - 1, Math.floor(this.#max / binWidth));
    const counts = this.#counts.slice(firstBin + side, lastBin + side + 1);
    return { kind: 'histogram', min: this.#min, max: this.#max, binWidth, firstBin, counts };
  }

  /** Widens the bins until `magnitude` lies inside. */
  #fit(magnitude: number): void {
    if (this.#width === 0) {
      if (magnitude === 0) {
        this.#width = SMALLEST_WIDTH;
        return;
      }
      this.#width = Math.max(SMALLEST_WIDTH, 2 ** Math.ceil(Math.log2(magnitude / this.#side)));
    }
    while (magnitude >= this.#width * this.#side) this.#double();
  }

  #double(): void {
    const { length } = this.#counts;
    const side = this.#side;
    const merged = new Float64Array(length);
    for (let i = 0; i < length; i += 1) {
      const bin = Math.floor((i - side) / 2) + side;
      merged[bin] = (merged[bin] ?? 0) + (this.#counts[i] ?? 0);
    }
    this.#counts.set(merged);
    this.#width *= 2;
  }
}

/** Infinity and -Infinity when there is no value but NaN. O(n), 0.5 ns a value: iterators take twenty times as long. */
function extremesOf(values: Float32Array): { min: number; max: number } {
  const count = values.length;
  let min = Infinity;
  let max = -Infinity;
  for (let i = 0; i < count; i += 1) {
    const value = values[i] ?? 0;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

/** The hot loop of histogram calibration: 2 ns a value. A power of two as factor is exact, so floor gives the true bin. */
function countInto(counts: Float64Array, values: Float32Array, inverseWidth: number, zeroBin: number): void {
  const count = values.length;
  for (let i = 0; i < count; i += 1) {
    const position = Math.floor((values[i] ?? 0) * inverseWidth) + zeroBin;
    // False for NaN only. `| 0` tells the compiler that the index is an integer.
    if (position >= 0) counts[position | 0] = (counts[position | 0] ?? 0) + 1;
  }
}

/** 1 / width must stay finite and exact. */
const SMALLEST_WIDTH = 2 ** -126;

/** Sums over every axis but one, in float64. */
export class ChannelMeanAccumulator {
  readonly #axis: number;
  #sums = new Float64Array(0);
  #count = 0;

  constructor(axis: number) {
    this.#axis = axis;
  }

  add(values: Float32Array, dims: readonly number[]): void {
    const { channels, inner } = stretchesOf(dims, this.#axis);
    if (this.#sums.length === 0) this.#sums = new Float64Array(channels);
    for (let from = 0, channel = 0; from < values.length; from += inner, channel = (channel + 1) % channels) {
      let sum = 0;
      for (let i = from; i < from + inner; i += 1) sum += values[i] ?? 0;
      this.#sums[channel] = (this.#sums[channel] ?? 0) + sum;
    }
    this.#count += channels === 0 ? 0 : values.length / channels;
  }

  result(): ChannelMeanObservation | undefined {
    if (this.#count === 0) return undefined;
    return { kind: 'channel-mean', mean: this.#sums.map((sum) => sum / this.#count) };
  }
}

/** Extremes over every axis but one. */
export class ChannelRangeAccumulator {
  readonly #axis: number;
  #min = new Float64Array(0);
  #max = new Float64Array(0);

  constructor(axis: number) {
    this.#axis = axis;
  }

  add(values: Float32Array, dims: readonly number[]): void {
    const { channels, inner } = stretchesOf(dims, this.#axis);
    if (this.#min.length === 0) {
      this.#min = new Float64Array(channels).fill(Infinity);
      this.#max = new Float64Array(channels).fill(-Infinity);
    }
    for (let from = 0, channel = 0; from < values.length; from += inner, channel = (channel + 1) % channels) {
      let min = this.#min[channel] ?? Infinity;
      let max = this.#max[channel] ?? -Infinity;
      for (let i = from; i < from + inner; i += 1) {
        const value = values[i] ?? 0;
        if (value < min) min = value;
        if (value > max) max = value;
      }
      this.#min[channel] = min;
      this.#max[channel] = max;
    }
  }

  result(): ChannelRangeObservation | undefined {
    if (!this.#min.every((min, channel) => min <= (this.#max[channel] ?? -Infinity)) || this.#min.length === 0) {
      return undefined;
    }
    return { kind: 'channel-range', min: this.#min, max: this.#max };
  }
}

/** Values that belong to one channel lie in stretches of `inner`, one channel after the other. */
function stretchesOf(dims: readonly number[], axis: number): { readonly channels: number; readonly inner: number } {
  const at = axis < 0 ? axis + dims.length : axis;
  const inner = dims.slice(at + 1).reduce((product, dim) => product * dim, 1);
  return { channels: dims[at] ?? 1, inner };
}
