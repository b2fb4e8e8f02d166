import type { InputMoments } from '../../layer-inputs/input-moments.ts';
import { groupMatrix } from '../../layer-inputs/weight-matrix.ts';
import type { MatrixLayout } from '../../layer-inputs/weight-targets.ts';
import type { BlockView } from './block-view.ts';
import type { LayerWeight } from './gptq-rows.ts';
import { dequantizeRows, type QuantizedRows } from './quantized-rows.ts';

/** Multiplications an estimate may take; of a larger layer some outputs stand for all. */
const MULTIPLICATIONS = 2 ** 27;

/** Squared change of a layer's outputs over the calibration data, as a share of their squares. */
export function outputError(weight: LayerWeight, quantized: QuantizedRows, moments: InputMoments): number {
  const { values, view, layout } = weight;
  const restored = rowsToTensor(dequantizeRows(quantized, view), view);
  const energy = outputEnergy(values, layout, moments);
  return energy > 0
    ? outputEnergy(
        values.map((value, i) => value - (restored[i] ?? 0)),
        layout,
        moments,
      ) / energy
    : 0;
}

/**
 * Sum of w H wᵀ over outputs w, evenly spread ones where there are many.
 *
 * @param multiplications - how many it may take, about
 */
export function outputEnergy(
  values: ArrayLike<number>,
  layout: MatrixLayout,
  moments: InputMoments,
  multiplications = MULTIPLICATIONS,
): number {
  let total = 0;
  for (const [group, products] of moments.groups.entries()) {
    const { rows, columns, data } = groupMatrix(values, layout, group);
    const affordable = Math.max(4, Math.floor(multiplications / moments.groups.length / columns ** 2));
    const step = Math.max(1, Math.ceil(rows / affordable));
    for (let row = 0; row < rows; row += step) {
      const line = row * columns;
      for (let i = 0; i < columns; i += 1) {
        const value = data[line + i] ?? 0;
        if (value === 0) continue;
        let sum = 0;
        for (let j = 0; j < columns; j += 1) sum += (products[i * columns + j] ?? 0) * (data[line + j] ?? 0);
        total += value * sum;
      }
    }
  }
  return total;
}

/** Rows [rows, size] in the order of the tensor that `RowReader` reads them from. */
export function rowsToTensor(rows: Float32Array, { outer, size, inner }: BlockView): Float32Array {
  if (inner === 1) return rows;
  const values = new Float32Array(rows.length);
  let at = 0;
  for (let o = 0; o < outer; o += 1) {
    for (let i = 0; i < inner; i += 1) {
      for (let k = 0; k < size; k += 1, at += 1) values[(o * size + k) * inner + i] = rows[at] ?? 0;
    }
  }
  return values;
}
