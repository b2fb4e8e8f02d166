import type { BlockScheme } from './quantized-rows.ts';
import { usable, zeroOf } from './rtn.ts';

/** Ranges that are tried, from one code fewer to nearly one more than the extremes ask for. */
const STEPS = 20;

/**
 * Looks for the scale and the zero of a block with the least weighted squared error: for each of some ranges the codes, for
 * these codes the scale and the zero in closed form, and the scale once more for the zero as it is stored, an integer. What
 * rounding to nearest gives is among the candidates, so the result is never worse. About 60 steps over the block.
 *
 * @see make_qkx2_quants of llama.cpp (ggml-quants.c), which leaves the zero where it is
 */
export class BlockSearch {
  /** What the last search found. */
  scale = 0;
  zero = 0;
  readonly #scheme: BlockScheme;
  readonly #top: number;

  constructor(scheme: BlockScheme) {
    this.#scheme = scheme;
    this.#top = 2 ** scheme.bits - 1;
  }

  /** @param importance - weight of each error, by place within the block */
  search(values: ArrayLike<number>, from: number, importance: Float64Array): void {
    const count = importance.length;
    let [min, max] = [0, 0];
    for (let i = 0; i < count; i += 1) {
      const value = values[from + i] ?? 0;
      if (value < min) min = value;
      else if (value > max) max = value;
    }
    const middle = 2 ** (this.#scheme.bits - 1);
    const extreme = max > -min ? max : min;
    const range = max - min;
    this.scale = usable(this.#scheme.symmetric ? -extreme / middle : range / this.#top);
    this.zero = this.#scheme.symmetric ? middle : zeroOf(min, this.scale, this.#top);
    if (this.scale === 0) return;
    const block = { values, from, importance };
    let best = this.#error(block, this.scale, this.zero);
    for (let step = 0; step < STEPS; step += 1) {
      const delta = -1 + (2 * step) / STEPS;
      const scale = this.#scheme.symmetric
        ? // Either end of the codes may hold the value farthest from zero.
          ((step % 2 === 0 ? -1 : 1) * extreme) / (middle - (step % 2) + delta)
        : range / (this.#top + delta);
      const zero = this.#scheme.symmetric ? middle : this.#fittingZero(block, scale, min);
      const refit = usable(this.#refit(block, scale, zero));
      if (refit === 0 || !Number.isFinite(refit)) continue;
      const error = this.#error(block, refit, zero);
      if (error >= best) continue;
      best = error;
      this.scale = refit;
      this.zero = zero;
    }
  }

  /** Codes for a range that starts at `min`; for them the best scale and offset; of these, the zero. */
  #fittingZero({ values, from, importance }: Block, scale: number, min: number): number {
    const top = this.#top;
    let [w, wx, wq, wqq, wxq] = [0, 0, 0, 0, 0];
    for (let i = 0; i < importance.length; i += 1) {
      const value = values[from + i] ?? 0;
      const weight = importance[i] ?? 0;
      let code = Math.floor((value - min) / scale + 0.5);
      if (code > top) code = top;
      w += weight;
      wx += weight * value;
      wq += weight * code;
      wqq += weight * code * code;
      wxq += weight * value * code;
    }
    const determinant = w * wqq - wq * wq;
    const fitted = determinant > 0 ? (w * wxq - wx * wq) / determinant : scale;
    const offset = determinant > 0 ? (wqq * wx - wq * wxq) / determinant : min;
    const zero = Math.round(fitted > 0 ? -offset / fitted : -min / scale);
    return zero < 0 ? 0 : zero > top ? top : zero;
  }

  /** The scale with the least error for the codes that `scale` gives. */
  #refit({ values, from, importance }: Block, scale: number, zero: number): number {
    const top = this.#top;
    let [products, squares] = [0, 0];
    for (let i = 0; i < importance.length; i += 1) {
      const value = values[from + i] ?? 0;
      let code = Math.floor(value / scale + zero + 0.5);
      code = (code < 0 ? 0 : code > top ? top : code) - zero;
      const weighted = (importance[i] ?? 0) * code;
      products += weighted * value;
      squares += weighted * code;
    }
    return squares > 0 ? products / squares : scale;
  }

  #error({ values, from, importance }: Block, scale: number, zero: number): number {
    const top = this.#top;
    let error = 0;
    for (let i = 0; i < importance.length; i += 1) {
      const value = values[from + i] ?? 0;
      let code = Math.floor(value / scale + zero + 0.5);
      code = (code < 0 ? 0 : code > top ? top : code) - zero;
      const lost = value - code * scale;
      error += (importance[i] ?? 0) * lost * lost;
    }
    return error;
  }
}

interface Block {
  readonly values: ArrayLike<number>;
  readonly from: number;
  readonly importance: Float64Array;
}
