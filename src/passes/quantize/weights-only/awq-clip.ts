import { blocksPerRow, type BlockView } from './block-view.ts';
import type { BlockScheme, QuantizedRows } from './quantized-rows.ts';
import { codeOf, extremesGrid, reciprocalOf } from './rtn.ts';

/** Ranges are cut in steps of a twentieth, by less than a half: as in the authors' code. */
const STEPS = 20;
const SHRINKS = 10;

export interface ClippedRows {
  readonly quantized: QuantizedRows;
  /** Share of the blocks for which a clipped range, or the whole one, does better than what was there. */
  readonly changedShare: number;
}

/**
 * For each block the range of codes with the least squared change of what the block adds to the outputs: that of `found`, or
 * codes that cover 1, 19/20 … 11/20 of the largest size in the block and clip what is beyond, which takes the nearest code. A block
 * is never worse than in `found`. O(10 n blockSize).
 *
 * @param values - [rows, view.size]
 * @param found - the same rows, quantized
 * @param products - second moments of the inputs of a row, [view.size, view.size]
 * @see Lin et al., "AWQ", MLSys 2024; auto_clip of the authors' code
 */
export function clippedRows(
  found: QuantizedRows,
  {
    values,
    view,
    products,
  }: { readonly values: Float32Array; readonly view: BlockView; readonly products: Float64Array },
  scheme: BlockScheme,
): ClippedRows {
  const { size, blockSize } = view;
  const blocks = blocksPerRow(view);
  const { rows } = found;
  const quantized = {
    rows,
    codes: found.codes.slice(),
    scales: found.scales.slice(),
    zeros: found.zeros.slice(),
  };
  const top = 2 ** scheme.bits - 1;
  const codes = new Uint8Array(blockSize);
  const lost = new Float64Array(blockSize);
  let changed = 0;
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const column = block * blockSize;
      const count = Math.min(blockSize, size - column);
      const from = row * size + column;
      const place = row * blocks + block;
      const [scale, zero] = [found.scales[place] ?? 0, found.zeros[place] ?? 0];
      let [min, max] = [0, 0];
      for (let i = 0; i < count; i += 1) {
        const value = values[from + i] ?? 0;
        if (value < min) min = value;
        else if (value > max) max = value;
        lost[i] = value - ((found.codes[from + i] ?? 0) - zero) * scale;
      }
      let least = energyOf(lost, count, { products, size, column });
      let isChanged = false;
      const largest = Math.max(-min, max);
      for (let step = 0; step < SHRINKS; step += 1) {
        const limit = Math.fround(largest * (1 - step / STEPS));
        const grid = extremesGrid(Math.max(min, -limit), Math.min(max, limit), scheme);
        const reciprocal = reciprocalOf(grid.scale);
        for (let i = 0; i < count; i += 1) {
          const value = values[from + i] ?? 0;
          const code = codeOf(value, reciprocal, grid.zero, top);
          codes[i] = code;
          lost[i] = value - (code - grid.zero) * grid.scale;
        }
        const energy = energyOf(lost, count, { products, size, column });
        if (energy >= least) continue;
        least = energy;
        isChanged = true;
        quantized.codes.set(codes.subarray(0, count), from);
        quantized.scales[place] = grid.scale;
        quantized.zeros[place] = grid.zero;
      }
      if (isChanged) changed += 1;
    }
  }
  return { quantized, changedShare: changed / Math.max(1, rows * blocks) };
}

/** e H eᵀ, H the moments of the inputs that a block meets. */
function energyOf(
  lost: Float64Array,
  count: number,
  { products, size, column }: { readonly products: Float64Array; readonly size: number; readonly column: number },
): number {
  let total = 0;
  for (let i = 0; i < count; i += 1) {
    const line = (column + i) * size + column;
    let sum = 0;
    for (let j = 0; j < count; j += 1) sum += (products[line + j] ?? 0) * (lost[j] ?? 0);
    total += (lost[i] ?? 0) * sum;
  }
  return total;
}
