import type { GroupMatrix } from '../layer-inputs/weight-matrix.ts';
import { dampedInverseFactor } from './damped-factor.ts';

/** Columns whose errors reach the columns behind them in one go. */
const BLOCK = 128;

/** The grids that a weight is rounded to. */
export interface ColumnGrid {
  /**
   * Called before a column is rounded, with the matrix as changed so far: scales that are shared by some columns are chosen
   * where the first of them comes.
   */
  enter?(column: number, matrix: GroupMatrix): void;
  /** The value on the grid of that row and column which is to stand for `value`. */
  round(value: number, row: number, column: number): number;
}

/** Columns in the order they are rounded. `largest-first`: by falling diagonal of H, the inputs that matter most first. */
export type ColumnOrder = 'given' | 'largest-first';

/**
 * Rounds a weight one column after the other and moves what each rounding takes away onto the columns that are still to come, by
 * the inverse of the inputs' second moments, so that the layer's output changes as little as can be. With moments that are a
 * multiple of the identity this is rounding to nearest. rows * columns² multiplications.
 *
 * @param matrix - [rows, columns]; changed in place to values of the grid
 * @param moments - XᵀX of the inputs up to a factor, [columns, columns]; only read
 * @throws CompressionError INTERNAL when the moments are not finite
 * @see Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023, algorithm 1
 */
export function gptq(matrix: GroupMatrix, moments: Float64Array, grid: ColumnGrid, order: ColumnOrder = 'given'): void {
  const { rows, columns, data } = matrix;
  const places = orderOf(moments, columns, order);
  const { u, dead } = dampedInverseFactor(permuted(moments, places), columns);
  const errors = new Float64Array(rows * BLOCK);
  for (let from = 0; from < columns; from += BLOCK) {
    const to = Math.min(columns, from + BLOCK);
    for (let at = from; at < to; at += 1) {
      const column = places[at] ?? 0;
      if (dead[at] === 1) for (let row = 0; row < rows; row += 1) data[row * columns + column] = 0;
      grid.enter?.(column, matrix);
      const line = at * columns;
      const diagonal = u[line + at] ?? 1;
      for (let row = 0; row < rows; row += 1) {
        const place = row * columns;
        const value = data[place + column] ?? 0;
        const rounded = grid.round(value, row, column);
        const error = (value - rounded) / diagonal;
        data[place + column] = rounded;
        errors[row * BLOCK + at - from] = error;
        if (error === 0) continue;
        for (let c = at + 1; c < to; c += 1) {
          const behind = place + (places[c] ?? 0);
          data[behind] = (data[behind] ?? 0) - error * (u[line + c] ?? 0);
        }
      }
    }
    if (to < columns) spread({ matrix, u, errors, places }, from, to);
  }
}

interface Spread {
  readonly matrix: GroupMatrix;
  readonly u: Float64Array;
  readonly errors: Float64Array;
  readonly places: Int32Array;
}

/** The columns behind a block get its errors together: the matrix is read once a block, not once a column. */
function spread({ matrix: { rows, columns, data }, u, errors, places }: Spread, from: number, to: number): void {
  for (let row = 0; row < rows; row += 1) {
    const place = row * columns;
    for (let at = from; at < to; at += 1) {
      const error = errors[row * BLOCK + at - from] ?? 0;
      if (error === 0) continue;
      const line = at * columns;
      for (let c = to; c < columns; c += 1) {
        const behind = place + (places[c] ?? 0);
        data[behind] = (data[behind] ?? 0) - error * (u[line + c] ?? 0);
      }
    }
  }
}

function orderOf(moments: Float64Array, columns: number, order: ColumnOrder): Int32Array {
  const places = Int32Array.from({ length: columns }, (_, column) => column);
  if (order === 'given') return places;
  const diagonal = (column: number): number => moments[column * columns + column] ?? 0;
  return places.sort((a, b) => diagonal(b) - diagonal(a) || a - b);
}

function permuted(moments: Float64Array, places: Int32Array): Float64Array {
  if (places.every((place, at) => place === at)) return moments;
  const { length } = places;
  const result = new Float64Array(length * length);
  for (let i = 0; i < length; i += 1) {
    const line = (places[i] ?? 0) * length;
    for (let j = 0; j < length; j += 1) result[i * length + j] = moments[line + (places[j] ?? 0)] ?? 0;
  }
  return result;
}
