/** Ranks from 1 on, by size; equal values share their mean rank. O(n log n). */
export function ranks(values: ArrayLike<number>): Float64Array {
  const n = values.length;
  const at = (i: number | undefined): number => values[i ?? -1] ?? NaN;
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => at(i) - at(j));
  const result = new Float64Array(n);
  for (let from = 0; from < n;) {
    let to = from + 1;
    while (to < n && at(order[to]) === at(order[from])) to += 1;
    for (let k = from; k < to; k += 1) result[order[k] ?? 0] = (from + 1 + to) / 2;
    from = to;
  }
  return result;
}
