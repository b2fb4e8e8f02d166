import { percentileInterval } from '../../passes/quantize/thresholds.ts';
import { ChannelRangeAccumulator, HistogramAccumulator } from '../../passes/statistics.ts';
import type { ValueDiagnosis } from '../../schemas/diagnosis.ts';
import type { QuantizedValue } from '../layer-match.ts';
import { typicalRatio } from './ratios.ts';

const BINS = 2048;
const PERCENTILE = 99.9;

/** How well the range that a value is rounded by fits the values that pass there: outliers, clipping, unequal channels. */
export class ValueStatistics {
  readonly #quantized: QuantizedValue;
  readonly #histogram = new HistogramAccumulator(BINS);
  readonly #channels: ChannelRangeAccumulator;
  #values = 0;
  #signal = 0;
  #clipped = 0;
  #clipNoise = 0;
  #roundNoise = 0;

  /** @param axis - of the channels; -1 is the last */
  constructor(quantized: QuantizedValue, axis: number) {
    this.#quantized = quantized;
    this.#channels = new ChannelRangeAccumulator(axis);
  }

  /** O(n), a few passes. Values that are not finite are left out. */
  add(values: Float32Array, dims: readonly number[]): void {
    this.#histogram.add(values);
    this.#channels.add(values, dims);
    const { scale, low, high } = this.#quantized;
    // Half a step past the end still rounds to the end: only what lies further out is clipped.
    const [from, to] = [low - scale / 2, high + scale / 2];
    for (let i = 0, { length } = values; i < length; i += 1) {
      const value = values[i] ?? 0;
      if (!Number.isFinite(value)) continue;
      this.#values += 1;
      this.#signal += value * value;
      if (value < from || value > to) {
        this.#clipped += 1;
        this.#clipNoise += (value - (value < low ? low : high)) ** 2;
      } else {
        const steps = value / scale;
        this.#roundNoise += (scale * (steps - Math.round(steps))) ** 2;
      }
    }
  }

  /** Squared error of rounding and clipping this value, as a share of its squares. */
  get noise(): number {
    return this.#signal === 0 ? 0 : (this.#clipNoise + this.#roundNoise) / this.#signal;
  }

  result(): ValueDiagnosis | undefined {
    const histogram = this.#histogram.result();
    if (histogram === undefined || this.#values === 0) return undefined;
    const { bits, type, low, high } = this.#quantized;
    const { min, max } = percentileInterval(histogram, PERCENTILE, true);
    const typical = Math.max(-min, max);
    const channels = this.#channels.result();
    const largest = channels?.max.map((value, c) => Math.max(value, -(channels.min[c] ?? 0)));
    const noise = this.#clipNoise + this.#roundNoise;
    return {
      type,
      bits,
      range: { min: histogram.min, max: histogram.max },
      quantizedRange: { min: low, max: high },
      percentile999: typical,
      ...(typical > 0 ? { outlierRatio: Math.max(-low, high) / typical } : {}),
      saturatedShare: this.#clipped / this.#values,
      clipNoiseShare: noise === 0 ? 0 : this.#clipNoise / noise,
      ...(largest === undefined || largest.length < 2 ? {} : { channelRatio: typicalRatio(largest) }),
    };
  }
}
