import { bfloat16ToNumber, float16ToNumber } from '../../../data/half-float.ts';
import type { Tensor } from '../../../onnx/tensor.ts';

export type Numbers = Float32Array | Float64Array;

/** The elements of a numeric tensor; a view where it is float or double already. */
export function numbersOf(tensor: Tensor): Numbers {
  const { data, type } = tensor.toArray();
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (type === 'float16' && data instanceof Uint16Array) return Float32Array.from(data, float16ToNumber);
  if (type === 'bfloat16' && data instanceof Uint16Array) return Float32Array.from(data, bfloat16ToNumber);
  return Float64Array.from(data as ArrayLike<number | bigint>, Number);
}

/**
 * Sum of |w|^p over everything that belongs to each position of an axis. O(elements).
 *
 * @param power - 1 or 2
 */
export function sumsAlong(
  values: Numbers,
  { dims, axis, power }: { readonly dims: readonly number[]; readonly axis: number; readonly power: 1 | 2 },
): Float64Array {
  const size = dims[axis] ?? 1;
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const outer = dims.slice(0, axis).reduce((product, dim) => product * dim, 1);
  const sums = new Float64Array(size);
  let at = 0;
  for (let o = 0; o < outer; o += 1) {
    for (let position = 0; position < size; position += 1) {
      let sum = 0;
      for (const end = at + inner; at < end; at += 1) {
        const value = values[at] ?? 0;
        sum += power === 2 ? value * value : Math.abs(value);
      }
      sums[position] = (sums[position] ?? 0) + sum;
    }
  }
  return sums;
}

/**
 * For each position of an axis the sum of its Euclidean distances to all others: the smallest is the one closest to the
 * geometric median. O(positions^2 * elements of a position).
 *
 * @see He et al., "Filter Pruning via Geometric Median", CVPR 2019
 */
export function distancesAlong(
  values: Numbers,
  { dims, axis }: { readonly dims: readonly number[]; readonly axis: number },
  positions: readonly number[],
): Float64Array {
  const size = dims[axis] ?? 1;
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const outer = dims.slice(0, axis).reduce((product, dim) => product * dim, 1);
  const rows = positions.map((position) => {
    const row = new Float64Array(outer * inner);
    for (let o = 0; o < outer; o += 1) {
      const from = (o * size + position) * inner;
      row.set(values.subarray(from, from + inner), o * inner);
    }
    return row;
  });
  const sums = new Float64Array(positions.length);
  for (let i = 0; i < rows.length; i += 1) {
    const a = rows[i] ?? new Float64Array(0);
    for (let j = i + 1; j < rows.length; j += 1) {
      const b = rows[j] ?? a;
      let square = 0;
      for (let k = 0; k < a.length; k += 1) {
        const difference = (a[k] ?? 0) - (b[k] ?? 0);
        square += difference * difference;
      }
      const distance = Math.sqrt(square);
      sums[i] = (sums[i] ?? 0) + distance;
      sums[j] = (sums[j] ?? 0) + distance;
    }
  }
  return sums;
}
