/**
 * ln |det A| by elimination with partial pivoting; -Infinity for a singular matrix. O(n^3 / 3).
 * @param a - [n, n], row-major; not changed
 * @see Golub & Van Loan, "Matrix Computations", 4th ed., 3.4
 */
export function logDeterminant(a: Float64Array, n: number): number {
  const lu = Float64Array.from(a);
  let sum = 0;
  for (let k = 0; k < n; k += 1) {
    let pivot = k;
    for (let i = k + 1; i < n; i += 1) {
      if (Math.abs(lu[i * n + k] ?? 0) > Math.abs(lu[pivot * n + k] ?? 0)) pivot = i;
    }
    if (pivot !== k) {
      const row = lu.slice(k * n, (k + 1) * n);
      lu.copyWithin(k * n, pivot * n, (pivot + 1) * n);
      lu.set(row, pivot * n);
    }
    const head = lu[k * n + k] ?? 0;
    if (head === 0) return -Infinity;
    sum += Math.log(Math.abs(head));
    for (let i = k + 1; i < n; i += 1) {
      const factor = (lu[i * n + k] ?? 0) / head;
      if (factor === 0) continue;
      for (let j = k + 1; j < n; j += 1) lu[i * n + j] = (lu[i * n + j] ?? 0) - factor * (lu[k * n + j] ?? 0);
    }
  }
  return sum;
}
