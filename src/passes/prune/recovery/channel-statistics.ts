import type { NdArray } from '../../../onnx/nd-array.ts';

/** Mean and variance by channel over all samples and places, in float64: sums around the first batch's means, so that none cancel. */
export class ChannelStatistics {
  readonly #axis: number;
  #offsets: Float64Array | undefined;
  #sums = new Float64Array(0);
  #squares = new Float64Array(0);
  /** Values a channel. */
  count = 0;

  /** @param axis - of the channels; negative: from the back */
  constructor(axis: number) {
    this.#axis = axis;
  }

  /** @param samples - real ones at the front of the first axis; the others are padding. O(values) */
  add({ data, dims }: NdArray, samples: number): void {
    if (!(data instanceof Float32Array)) return;
    const axis = this.#axis < 0 ? dims.length + this.#axis : this.#axis;
    const channels = dims[axis] ?? 1;
    const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
    const [batch = 1] = dims;
    const outer = data.length / (channels * inner);
    const rows = axis > 0 && samples < batch ? (outer / batch) * samples : axis > 0 ? outer : 1;
    this.#offsets ??= firstMeans(data, { channels, inner, rows });
    if (this.#sums.length === 0) {
      this.#sums = new Float64Array(channels);
      this.#squares = new Float64Array(channels);
    }
    for (let channel = 0; channel < channels; channel += 1) {
      const offset = this.#offsets[channel] ?? 0;
      let [sum, squares] = [0, 0];
      for (let row = 0; row < rows; row += 1) {
        const from = (row * channels + channel) * inner;
        for (let at = from; at < from + inner; at += 1) {
          const value = (data[at] ?? 0) - offset;
          sum += value;
          squares += value * value;
        }
      }
      this.#sums[channel] = (this.#sums[channel] ?? 0) + sum;
      this.#squares[channel] = (this.#squares[channel] ?? 0) + squares;
    }
    this.count += rows * inner;
  }

  get mean(): Float64Array {
    return this.#sums.map((sum, channel) => (this.#offsets?.[channel] ?? 0) + sum / this.count);
  }

  /** Unbiased, as a trained network's running variance is: divided by one less than the count. */
  get variance(): Float64Array {
    const { count } = this;
    return this.#squares.map((squares, channel) => {
      const sum = this.#sums[channel] ?? 0;
      return Math.max(0, (squares - (sum * sum) / count) / (count - 1));
    });
  }
}

function firstMeans(
  data: Float32Array,
  { channels, inner, rows }: { readonly channels: number; readonly inner: number; readonly rows: number },
): Float64Array {
  const means = new Float64Array(channels);
  for (let channel = 0; channel < channels; channel += 1) {
    let sum = 0;
    for (let row = 0; row < rows; row += 1) {
      const from = (row * channels + channel) * inner;
      for (let at = from; at < from + inner; at += 1) sum += data[at] ?? 0;
    }
    means[channel] = sum / (rows * inner);
  }
  return means;
}
