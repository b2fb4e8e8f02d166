import { bfloat16ToNumber, float16ToNumber } from '../../../data/half-float.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import type { GroupMember } from '../groups/channel-groups.ts';

export type Numbers = Float32Array | Float64Array;

/** The elements of a numeric tensor; a view where it is float or double already. */
export function numbersOf(tensor: Tensor): Numbers {
  const { data, type } = tensor.toArray();
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (type === 'float16' && data instanceof Uint16Array) return Float32Array.from(data, float16ToNumber);
  if (type === 'bfloat16' && data instanceof Uint16Array) return Float32Array.from(data, bfloat16ToNumber);
  return Float64Array.from(data as ArrayLike<number | bigint>, Number);
}

/** What is summed of each number: itself, its magnitude, or its square. */
export type Term = 'value' | 'magnitude' | 'square';

/** Sum of a term over everything that belongs to each position of an axis. O(elements). */
export function sumsAlong(
  values: Numbers,
  { dims, axis, term }: { readonly dims: readonly number[]; readonly axis: number; readonly term: Term },
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
        sum += term === 'square' ? value * value : term === 'magnitude' ? Math.abs(value) : value;
      }
      sums[position] = (sums[position] ?? 0) + sum;
    }
  }
  return sums;
}

/** Adds what was summed for each position of a member's axis to the channels that lie there. */
export function addByChannel(scores: Float64Array, { channels }: GroupMember, byPosition: Float64Array): void {
  for (let position = 0; position < channels.length; position += 1) {
    const channel = channels[position] ?? -1;
    if (channel >= 0) scores[channel] = (scores[channel] ?? 0) + (byPosition[position] ?? 0);
  }
}

/** Over their mean, so that groups can be ranked with each other; zeros stay zeros. */
export function byMean(scores: Float64Array): Float64Array {
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return mean > 0 ? scores.map((score) => score / mean) : scores;
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
