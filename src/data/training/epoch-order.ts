import { keyedRandom, shuffle, STREAM } from './keyed-random.ts';

/** A stretch of an epoch whose samples are in memory together. */
export interface OrderWindow {
  /** First place of the window in the epoch. */
  readonly start: number;
  /** Positions among the training samples, ascending: what is to be read. */
  readonly positions: Uint32Array;
  /** The epoch's order: indices into `positions`. */
  readonly order: Uint32Array;
}

export interface OrderOptions {
  readonly seed: number;
  /** False: the data set's own order, each epoch the same. */
  readonly shuffle: boolean;
  /** Samples that may be in one window. */
  readonly windowSamples: number;
}

/**
 * The order of an epoch, a function of (seed, epoch) alone: blocks of neighbouring samples are shuffled, as many as fit
 * make a window, and the samples of a window are shuffled. When one window holds all, this is a plain uniform shuffle.
 *
 * @see Nguyen et al., "Why Globally Re-shuffle? Revisiting Data Shuffling in Large Scale Deep Learning", IPDPS 2022,
 *   for what partial shuffles cost (next to nothing, unless a window sees few classes)
 */
export class EpochOrder {
  readonly samples: number;
  readonly #blockStarts: Uint32Array;
  readonly #options: OrderOptions;

  /** @param blockStarts - first position of each block, ascending from 0 */
  constructor(samples: number, blockStarts: Uint32Array, options: OrderOptions) {
    this.samples = samples;
    this.#blockStarts = blockStarts;
    this.#options = options;
  }

  /** The windows of an epoch from the one that holds place `from` on; each is made when it is asked for. */
  *windows(epoch: number, from = 0): Generator<OrderWindow, undefined> {
    const { seed, windowSamples } = this.#options;
    const blocks = Uint32Array.from({ length: this.#blockStarts.length }, (_, i) => i);
    const whole = this.samples <= windowSamples;
    if (this.#options.shuffle && !whole) shuffle(blocks, keyedRandom(seed, STREAM.blocks, epoch));
    let start = 0;
    let window = 0;
    for (let first = 0; first < blocks.length; window += 1) {
      let end = first;
      let count = 0;
      while (end < blocks.length && (end === first || count + this.#blockSize(blocks[end] ?? 0) <= windowSamples)) {
        count += this.#blockSize(blocks[end] ?? 0);
        end += 1;
      }
      if (start + count > from) yield this.#window(epoch, window, { start, count, blocks: blocks.slice(first, end) });
      start += count;
      first = end;
    }
    return undefined;
  }

  #blockSize(block: number): number {
    return (this.#blockStarts[block + 1] ?? this.samples) - (this.#blockStarts[block] ?? 0);
  }

  #window(
    epoch: number,
    window: number,
    { start, count, blocks }: { readonly start: number; readonly count: number; readonly blocks: Uint32Array },
  ): OrderWindow {
    const positions = new Uint32Array(count);
    let at = 0;
    for (const block of blocks.sort()) {
      const first = this.#blockStarts[block] ?? 0;
      const size = this.#blockSize(block);
      for (let i = 0; i < size; i += 1) positions[at + i] = first + i;
      at += size;
    }
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    if (this.#options.shuffle) shuffle(order, keyedRandom(this.#options.seed, STREAM.window, epoch, window));
    return { start, positions, order };
  }
}
