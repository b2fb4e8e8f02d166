/**
 * The upper triangular U with UᵀU = A⁻¹, A = [n, n] symmetric and positive definite. One reversed Cholesky factorization
 * A = V Vᵀ (V upper) and the inverse of V: n³ / 2 multiplications in all, both along rows.
 *
 * @param a - row-major; only read
 * @returns row-major, zeros below the diagonal; undefined when A is not positive definite to working precision
 */
export function inverseCholesky(a: Float64Array, n: number): Float64Array | undefined {
  const v = reversedCholesky(a, n);
  return v === undefined ? undefined : invertUpper(v, n);
}

/** V upper with A = V Vᵀ. */
function reversedCholesky(a: Float64Array, n: number): Float64Array | undefined {
  const v = new Float64Array(n * n);
  for (let j = n - 1; j >= 0; j -= 1) {
    const rowJ = j * n;
    let square = a[rowJ + j] ?? NaN;
    for (let k = j + 1; k < n; k += 1) square -= (v[rowJ + k] ?? 0) ** 2;
    if (!(square > 0)) return undefined;
    const diagonal = Math.sqrt(square);
    v[rowJ + j] = diagonal;
    for (let i = 0; i < j; i += 1) {
      const rowI = i * n;
      let sum = a[rowI + j] ?? NaN;
      for (let k = j + 1; k < n; k += 1) sum -= (v[rowI + k] ?? 0) * (v[rowJ + k] ?? 0);
      v[rowI + j] = sum / diagonal;
    }
  }
  return v;
}

function invertUpper(v: Float64Array, n: number): Float64Array {
  const u = new Float64Array(n * n);
  const sums = new Float64Array(n);
  for (let i = 0; i < n; i += 1) {
    sums.fill(0);
    for (let k = i; k < n; k += 1) {
      const value = ((k === i ? 1 : 0) - (sums[k] ?? 0)) / (v[k * n + k] ?? NaN);
      u[i * n + k] = value;
      for (let j = k + 1; j < n; j += 1) sums[j] = (sums[j] ?? 0) + value * (v[k * n + j] ?? 0);
    }
  }
  return u;
}
