/**
 * How much the largest exceeds the median of what is above zero: 1 where all are alike. Channels that are always zero do not
 * count, they need no codes.
 */
export function typicalRatio(sizes: ArrayLike<number>): number {
  const used = Array.from(sizes).filter((size) => size > 0 && Number.isFinite(size));
  if (used.length === 0) return 1;
  used.sort((a, b) => a - b);
  const median = used[Math.floor((used.length - 1) / 2)] ?? 1;
  return (used.at(-1) ?? median) / median;
}

/** Largest absolute value of each slice of a tensor along an axis. O(elements). */
export function sliceSizes(values: ArrayLike<number>, dims: readonly number[], axis: number): Float64Array {
  const count = dims[axis] ?? 1;
  let inner = 1;
  for (const dim of dims.slice(axis + 1)) inner *= dim;
  const sizes = new Float64Array(count);
  for (let i = 0; i < values.length; i += 1) {
    const slice = Math.floor(i / inner) % count;
    const size = Math.abs(values[i] ?? 0);
    if (size > (sizes[slice] ?? 0)) sizes[slice] = size;
  }
  return sizes;
}

/** Decibels of a share of noise (squared error by squared values); null where there is none. */
export function decibels(noise: number): number | null {
  return noise > 0 && Number.isFinite(noise) ? -10 * Math.log10(noise) : null;
}
