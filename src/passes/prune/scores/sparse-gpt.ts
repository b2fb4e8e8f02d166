import { dampedInverseFactor } from '../../rounding/damped-factor.ts';
import type { GroupMatrix } from '../../layer-inputs/weight-matrix.ts';
import { countOf } from './choose-masks.ts';
import { keepMasks } from './select-smallest.ts';

/** Columns whose mask is chosen together, as in the authors' code. */
const BLOCK = 128;

export type GptPattern =
  | { readonly kind: 'elements'; readonly sparsity: number }
  /** Groups of m consecutive columns within each run of `inputs` columns; a remainder stays dense. */
  | { readonly kind: 'n-of-m'; readonly zeros: number; readonly m: number; readonly inputs: number };

/**
 * Zeroes weights one column after the other and moves what each takes away onto the columns that are still to come, by the
 * inverse of the inputs' second moments: the output changes as little as can be. Masks go by w² / U_jj², chosen for a block of
 * columns over all rows (exactly the share asked for in the whole matrix), or for each group of m columns and row.
 *
 * @param matrix - [rows, columns]; changed in place
 * @param moments - XᵀX of the inputs up to a factor, [columns, columns]; only read
 * @throws CompressionError INTERNAL when the moments are not finite
 * @see Frantar & Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023, algorithm 1
 */
export function sparseGpt(matrix: GroupMatrix, moments: Float64Array, pattern: GptPattern): void {
  const { rows, columns, data } = matrix;
  const { u, dead } = dampedInverseFactor(moments, columns);
  let zeroed = 0;
  const errors = new Float64Array(rows * BLOCK);
  for (let from = 0; from < columns;) {
    const to = blockEnd(from, columns, pattern);
    const width = to - from;
    const keep = new Uint8Array(rows * width).fill(1);
    const score = (row: number, column: number): number =>
      dead[column] === 1 ? 0 : ((data[row * columns + column] ?? 0) / (u[column * columns + column] ?? 1)) ** 2;
    if (pattern.kind === 'elements') {
      const scores = new Float64Array(rows * width);
      for (let row = 0; row < rows; row += 1)
        for (let c = 0; c < width; c += 1) scores[row * width + c] = score(row, from + c);
      const wanted = countOf(pattern.sparsity, rows * columns);
      const upTo = to === columns ? wanted : Math.round((wanted * to) / columns);
      const [mask] = keepMasks([scores], upTo - zeroed);
      if (mask !== undefined) keep.set(mask);
      zeroed = upTo;
    }
    for (let column = from; column < to; column += 1) {
      if (pattern.kind === 'n-of-m' && startsGroup(column, pattern)) {
        for (let row = 0; row < rows; row += 1)
          zeroLowest(keep, { row, width, at: column - from }, pattern, (c) => score(row, from + c));
      }
      const line = column * columns;
      const diagonal = u[line + column] ?? 1;
      for (let row = 0; row < rows; row += 1) {
        const place = row * columns;
        const isKept = keep[row * width + column - from] === 1;
        const error = isKept ? 0 : (data[place + column] ?? 0) / diagonal;
        errors[row * BLOCK + column - from] = error;
        if (isKept) continue;
        data[place + column] = 0;
        if (error === 0) continue;
        for (let c = column + 1; c < to; c += 1) data[place + c] = (data[place + c] ?? 0) - error * (u[line + c] ?? 0);
      }
    }
    // The columns behind the block get its errors in one go: the matrix is read once a block, not once a column.
    for (let row = 0; row < rows; row += 1) {
      const place = row * columns;
      for (let column = from; column < to; column += 1) {
        const error = errors[row * BLOCK + column - from] ?? 0;
        if (error === 0) continue;
        const line = column * columns;
        for (let c = to; c < columns; c += 1) data[place + c] = (data[place + c] ?? 0) - error * (u[line + c] ?? 0);
      }
    }
    from = to;
  }
}

/** A block ends where no group of m columns is cut. */
function blockEnd(from: number, columns: number, pattern: GptPattern): number {
  let to = Math.min(columns, from + BLOCK);
  if (pattern.kind === 'elements' || to === columns) return to;
  const { inputs, m } = pattern;
  const whole = Math.floor(inputs / m) * m;
  const offset = to % inputs;
  if (offset < whole) to -= offset % m;
  return to;
}

function startsGroup(column: number, { inputs, m }: { readonly inputs: number; readonly m: number }): boolean {
  const channel = column % inputs;
  return channel % m === 0 && channel + m <= inputs;
}

function zeroLowest(
  keep: Uint8Array,
  { row, width, at }: { readonly row: number; readonly width: number; readonly at: number },
  { zeros, m }: { readonly zeros: number; readonly m: number },
  score: (column: number) => number,
): void {
  const scores = Float64Array.from({ length: m }, (_, j) => score(at + j));
  const [mask] = keepMasks([scores], zeros);
  if (mask !== undefined) keep.set(mask, row * width + at);
}
