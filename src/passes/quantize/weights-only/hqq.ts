import { blocksPerRow, type BlockView } from './block-view.ts';
import { emptyRows, type BlockScheme, type QuantizedRows } from './quantized-rows.ts';
import { roundBlock, usable } from './rtn.ts';

const ITERATIONS = 20;
/** Exponent of the norm that is made small: below 1, a few large errors cost less than many small ones. */
const NORM = 0.7;
const FIRST_BETA = 10;
const BETA_GROWTH = 1.01;
const LARGEST_RECIPROCAL = 2e4;

/**
 * Half-quadratic quantization: the scale of each block covers its range, its zero is the one with the least |error|^0.7, found by
 * turns with the errors that are let go. No data. Each block stops when its mean error no longer falls, not all at once as in
 * the authors' code.
 *
 * @param floatZeros - zeros are numbers of their own; false: rounded to codes in the end, for formats that store codes only
 * @see Badri & Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023; hqq/core/optimize.py
 */
export function hqqRows(
  values: Float32Array,
  view: BlockView,
  { bits }: Pick<BlockScheme, 'bits'>,
  floatZeros: boolean,
): QuantizedRows {
  const { size, blockSize } = view;
  const rows = values.length / size;
  const blocks = blocksPerRow(view);
  const result = emptyRows(rows, view);
  const top = 2 ** bits - 1;
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const from = row * size + block * blockSize;
      const to = Math.min(from + blockSize, (row + 1) * size);
      const { scale, zero } = solve(values.subarray(from, to), top);
      const place = row * blocks + block;
      const stored = floatZeros ? Math.fround(zero) : Math.min(top, Math.max(0, Math.round(zero)));
      result.scales[place] = scale;
      result.zeros[place] = stored;
      roundBlock(values, result.codes, { from, to }, { scale, zero: stored, top });
    }
  }
  return result;
}

function solve(values: Float32Array, top: number): { readonly scale: number; readonly zero: number } {
  let [min, max] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  // One value all through: 0 and it are the range.
  if (min === max) {
    min = Math.min(min, 0);
    max = Math.max(max, 0);
  }
  const exact = usable((max - min) / top);
  if (exact === 0) return { scale: 0, zero: 0 };
  const scale = Math.max(exact, Math.fround(1 / LARGEST_RECIPROCAL));
  let zero = -min / scale;
  let best = { zero, error: Infinity };
  let beta = FIRST_BETA;
  for (let iteration = 0; iteration < ITERATIONS; iteration += 1) {
    let [error, next] = [0, 0];
    for (const value of values) {
      const code = Math.min(top, Math.max(0, Math.floor(value / scale + zero + 0.5)));
      const lost = value - (code - zero) * scale;
      const size = Math.abs(lost);
      error += size;
      const kept = Math.max(0, size - (size + 1e-8) ** (NORM - 1) / beta);
      next += code - (value - Math.sign(lost) * kept) / scale;
    }
    if (error >= best.error) break;
    best = { zero, error };
    zero = next / values.length;
    beta *= BETA_GROWTH;
  }
  return { scale, zero: best.zero };
}
