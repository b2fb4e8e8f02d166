import { blocksPerRow, type BlockView } from './block-view.ts';
import { emptyRows, type BlockScheme, type QuantizedRows } from './quantized-rows.ts';

/**
 * Round to nearest, block by block, as ONNX Runtime's own MatMulNBits quantizer does it: halves round away from zero, all in
 * float32. Symmetric: the value farthest from zero becomes code 0, so its sign is that of -scale and a scale may be
 * negative; that way -2^(bits-1) is used, too. O(n) time.
 *
 * @see onnxruntime core/mlas/lib/q4_dq.cpp (BlockwiseQuantizer)
 */
export function rtnRows(values: Float32Array, view: BlockView, scheme: BlockScheme): QuantizedRows {
  const { size, blockSize } = view;
  const rows = values.length / size;
  const blocks = blocksPerRow(view);
  const result = emptyRows(rows, view);
  const { codes, scales, zeros } = result;
  const top = 2 ** scheme.bits - 1;
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const from = row * size + block * blockSize;
      const to = Math.min(from + blockSize, (row + 1) * size);
      let min = 0;
      let max = 0;
      for (let i = from; i < to; i += 1) {
        const value = values[i] ?? 0;
        if (value < min) min = value;
        else if (value > max) max = value;
      }
      const { scale, zero } = extremesGrid(min, max, scheme);
      const place = row * blocks + block;
      scales[place] = scale;
      zeros[place] = zero;
      roundBlock(values, codes, { from, to }, { scale, zero, top });
    }
  }
  return result;
}

/**
 * Scale and zero of codes that cover a block.
 *
 * @param min - the smallest value, 0 at most; `max` 0 at least
 */
export function extremesGrid(
  min: number,
  max: number,
  { bits, symmetric }: BlockScheme,
): { readonly scale: number; readonly zero: number } {
  const top = 2 ** bits - 1;
  const middle = 2 ** (bits - 1);
  const scale = usable(symmetric ? (max > -min ? max : min) / -middle : Math.fround(max - min) / top);
  return { scale, zero: symmetric ? middle : zeroOf(min, scale, top) };
}

/** Below this a float32 is not normal, and dividing by it overflows. */
const FLOAT32_TINY = 2 ** -126;

/** The scale in float32; 0 for a block that is 0 to working precision. */
export function usable(scale: number): number {
  return Math.abs(scale) < FLOAT32_TINY ? 0 : Math.fround(scale);
}

export function zeroOf(min: number, scale: number, top: number): number {
  if (scale === 0) return 0;
  const zero = Math.fround(-min / scale);
  return zero > top ? top : Math.trunc(zero + 0.5);
}

/** Codes of one block for a given scale and zero. A scale of 0 gives codes that stand for 0. */
export function roundBlock(
  values: Float32Array | Float64Array,
  codes: Uint8Array,
  { from, to }: { readonly from: number; readonly to: number },
  { scale, zero, top }: { readonly scale: number; readonly zero: number; readonly top: number },
): void {
  const reciprocal = reciprocalOf(scale);
  for (let i = from; i < to; i += 1) codes[i] = codeOf(values[i] ?? 0, reciprocal, zero, top);
}

export function reciprocalOf(scale: number): number {
  return scale === 0 ? 0 : Math.fround(1 / scale);
}

/** The code nearest to a value, halves away from zero. */
export function codeOf(value: number, reciprocal: number, zero: number, top: number): number {
  // Below zero the result is 0 anyway, so adding a half and cutting off rounds halves away from zero.
  const code = Math.fround(value * reciprocal) + zero + 0.5;
  return code <= 0 ? 0 : code >= top ? top : Math.trunc(code);
}
