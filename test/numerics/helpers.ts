import { noise } from '../passes/quantize/helpers.ts';

/** The same numbers everywhere, in [-1, 1). */
export function matrix(rows: number, cols: number, seed = 1): Float64Array {
  return Float64Array.from(noise(rows * cols, seed));
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i += 1) largest = Math.max(largest, Math.abs((a[i] ?? 0) - (b[i] ?? 0)));
  return largest;
}

export function identity(n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, i) => (Math.floor(i / n) === i % n ? 1 : 0));
}
