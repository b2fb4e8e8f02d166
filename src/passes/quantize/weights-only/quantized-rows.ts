import type { BlockView } from './block-view.ts';
import { blocksPerRow } from './block-view.ts';

export type Bits = 8 | 4 | 2;

/** What the codes of a block may be. */
export interface BlockScheme {
  readonly bits: Bits;
  /** Zero point in the middle of the codes, 2^(bits-1). */
  readonly symmetric: boolean;
}

/**
 * Rows in unsigned codes: real = (code - zero) * scale, scale and zero of the element's block. A scale may be negative. The
 * zero is an integer of the codes' range, but for HQQ, where it may be any number.
 */
export interface QuantizedRows {
  readonly rows: number;
  /** [rows, size] */
  readonly codes: Uint8Array;
  /** [rows, blocks] */
  readonly scales: Float32Array;
  /** [rows, blocks] */
  readonly zeros: Float32Array;
}

/**
 * Quantizes whole rows, [rows, view.size].
 *
 * @param first - number of the first of them within the tensor
 */
export type RowQuantizer = (values: Float32Array, view: BlockView, first: number) => QuantizedRows;

export function emptyRows(rows: number, view: BlockView): QuantizedRows {
  const blocks = rows * blocksPerRow(view);
  return {
    rows,
    codes: new Uint8Array(rows * view.size),
    scales: new Float32Array(blocks),
    zeros: new Float32Array(blocks),
  };
}

/** The numbers that codes stand for, [rows, size]. */
export function dequantizeRows({ rows, codes, scales, zeros }: QuantizedRows, view: BlockView): Float32Array {
  const { size, blockSize } = view;
  const blocks = blocksPerRow(view);
  const values = new Float32Array(rows * size);
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const scale = scales[row * blocks + block] ?? 0;
      const zero = zeros[row * blocks + block] ?? 0;
      const from = row * size + block * blockSize;
      const to = Math.min(from + blockSize, (row + 1) * size);
      for (let i = from; i < to; i += 1) values[i] = ((codes[i] ?? 0) - zero) * scale;
    }
  }
  return values;
}

/** Squared error and squared weights, to be added up over the stripes of a tensor. */
export interface SquaredError {
  error: number;
  energy: number;
}

/** Adds what rows lost. O(n). */
export function addError(total: SquaredError, values: Float32Array, quantized: QuantizedRows, view: BlockView): void {
  const { size, blockSize } = view;
  const blocks = blocksPerRow(view);
  const { rows, codes, scales, zeros } = quantized;
  let [error, energy] = [0, 0];
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const scale = scales[row * blocks + block] ?? 0;
      const zero = zeros[row * blocks + block] ?? 0;
      const from = row * size + block * blockSize;
      const to = Math.min(from + blockSize, (row + 1) * size);
      for (let i = from; i < to; i += 1) {
        const value = values[i] ?? 0;
        const lost = value - ((codes[i] ?? 0) - zero) * scale;
        error += lost * lost;
        energy += value * value;
      }
    }
  }
  total.error += error;
  total.energy += energy;
}
