import { BlockSearch } from './block-search.ts';
import { blocksPerRow, type BlockView } from './block-view.ts';
import { emptyRows, type BlockScheme, type QuantizedRows } from './quantized-rows.ts';
import { roundBlock } from './rtn.ts';

/**
 * Scale and zero of each block by search, errors weighted: by their own size where nothing else is known, as llama.cpp does
 * (rms of the block + |w|: outliers must not be clipped away), or by how strong the inputs are that weights multiply.
 *
 * @param importance - of each element of a row, [size]; absent: rms + |w|
 */
export function searchedRows(
  values: Float32Array,
  view: BlockView,
  scheme: BlockScheme,
  importance?: Float64Array,
): QuantizedRows {
  const { size, blockSize } = view;
  const rows = values.length / size;
  const blocks = blocksPerRow(view);
  const result = emptyRows(rows, view);
  const search = new BlockSearch(scheme);
  const top = 2 ** scheme.bits - 1;
  const own = new Float64Array(blockSize);
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const at = block * blockSize;
      const from = row * size + at;
      const to = Math.min(from + blockSize, (row + 1) * size);
      const given = importance?.subarray(at, at + to - from) ?? ownImportance(values, from, own.subarray(0, to - from));
      search.search(values, from, given);
      const { scale, zero } = search;
      const place = row * blocks + block;
      result.scales[place] = scale;
      result.zeros[place] = zero;
      roundBlock(values, result.codes, { from, to }, { scale, zero, top });
    }
  }
  return result;
}

function ownImportance(values: Float32Array, from: number, result: Float64Array): Float64Array {
  let squares = 0;
  for (let i = 0; i < result.length; i += 1) squares += (values[from + i] ?? 0) ** 2;
  const rms = Math.sqrt(squares / result.length);
  for (let i = 0; i < result.length; i += 1) result[i] = rms + Math.abs(values[from + i] ?? 0);
  return result;
}
