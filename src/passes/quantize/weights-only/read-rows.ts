import type { Tensor } from '../../../onnx/tensor.ts';
import type { BlockView } from './block-view.ts';

/** Columns that are turned into rows at a time: a tile of both fits the first cache. */
const TILE = 32;

/**
 * Copies rows [from, to) of a float tensor into one array, [to - from, size], whatever the tensor's layout. Of an external
 * tensor only those rows are read.
 */
export class RowReader {
  readonly #tensor: Tensor;
  readonly #view: BlockView;
  /** What an external tensor is read into before its columns become rows. */
  #scratch = new Float32Array(0);

  constructor(tensor: Tensor, view: BlockView) {
    this.#tensor = tensor;
    this.#view = view;
  }

  read(from: number, to: number): Float32Array {
    const { size, inner } = this.#view;
    if (inner === 1) return this.#elements(from * size, (to - from) * size);
    const rows = new Float32Array((to - from) * size);
    // A stretch of rows lies within one of the outer slabs, [size, inner] each.
    for (let row = from; row < to;) {
      const slab = Math.floor(row / inner);
      const until = Math.min(to, (slab + 1) * inner);
      this.#columns(slab, row - slab * inner, until - slab * inner, rows.subarray((row - from) * size));
      row = until;
    }
    return rows;
  }

  /** Columns [from, to) of a slab, as rows. */
  #columns(slab: number, from: number, to: number, rows: Float32Array): void {
    const { size, inner } = this.#view;
    const width = to - from;
    const first = slab * size * inner + from;
    const { storage } = this.#tensor;
    if (storage.kind !== 'external') {
      turn(this.#tensor.floats(), { first, stride: inner, width, size }, rows);
      return;
    }
    if (this.#scratch.length < width * size) this.#scratch = new Float32Array(width * size);
    const bytes = new Uint8Array(this.#scratch.buffer);
    storage.file.readInto(bytes.subarray(0, width * size * 4), storage.offset + first * 4, {
      length: width * 4,
      stride: inner * 4,
    });
    turn(this.#scratch, { first: 0, stride: width, width, size }, rows);
  }

  #elements(first: number, count: number): Float32Array {
    const { storage } = this.#tensor;
    if (storage.kind !== 'external') return this.#tensor.floats().subarray(first, first + count);
    const values = new Float32Array(count);
    storage.file.readInto(new Uint8Array(values.buffer), storage.offset + first * 4);
    return values;
  }
}

/** All rows of values in the tensor's order; a view where they are in order already. */
export function rowsOf(values: Float32Array, { outer, size, inner }: BlockView): Float32Array {
  if (inner === 1) return values;
  const rows = new Float32Array(values.length);
  const slab = size * inner;
  for (let o = 0; o < outer; o += 1) {
    turn(values, { first: o * slab, stride: inner, width: inner, size }, rows.subarray(o * slab));
  }
  return rows;
}

/** [size, stride] from `first` on, `width` columns of it, into [width, size]. */
function turn(
  values: Float32Array,
  {
    first,
    stride,
    width,
    size,
  }: { readonly first: number; readonly stride: number; readonly width: number; readonly size: number },
  rows: Float32Array,
): void {
  for (let column = 0; column < width; column += TILE) {
    const columnEnd = Math.min(column + TILE, width);
    for (let k = 0; k < size; k += TILE) {
      const kEnd = Math.min(k + TILE, size);
      for (let c = column; c < columnEnd; c += 1) {
        for (let at = k; at < kEnd; at += 1) rows[c * size + at] = values[first + at * stride + c] ?? 0;
      }
    }
  }
}
