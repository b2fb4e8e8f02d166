/** How much of an error is a shift of the channels' means, which a bias could take back. */
export class ChannelShift {
  readonly #axis: number;
  #sums = new Float64Array(0);
  #counts = new Float64Array(0);
  #squares = 0;

  /** @param axis - of the channels; -1 is the last */
  constructor(axis: number) {
    this.#axis = axis;
  }

  /** Adds y - x. O(n). */
  add({ data: x, dims }: { readonly data: Float32Array; readonly dims: readonly number[] }, y: Float32Array): void {
    const axis = this.#axis < 0 ? this.#axis + dims.length : this.#axis;
    const channels = dims[axis] ?? 1;
    let inner = 1;
    for (const dim of dims.slice(axis + 1)) inner *= dim;
    if (this.#sums.length === 0) {
      this.#sums = new Float64Array(channels);
      this.#counts = new Float64Array(channels);
    }
    if (this.#sums.length !== channels || inner === 0) return;
    for (let from = 0, channel = 0; from < x.length; from += inner, channel = (channel + 1) % channels) {
      let [sum, squares] = [0, 0];
      for (let i = from; i < from + inner; i += 1) {
        const error = (y[i] ?? 0) - (x[i] ?? 0);
        sum += error;
        squares += error * error;
      }
      this.#sums[channel] = (this.#sums[channel] ?? 0) + sum;
      this.#counts[channel] = (this.#counts[channel] ?? 0) + inner;
      this.#squares += squares;
    }
  }

  /** Σ n mean² over the channels, of Σ error². */
  get share(): number {
    if (!(this.#squares > 0) || !Number.isFinite(this.#squares)) return 0;
    let shifted = 0;
    this.#sums.forEach((sum, channel) => (shifted += sum ** 2 / (this.#counts[channel] ?? 1)));
    return Math.min(1, shifted / this.#squares);
  }
}
