export interface SymmetricEigen {
  /** Largest first. */
  readonly values: Float64Array;
  /** Row k is the unit eigenvector of `values[k]`; its component of largest magnitude is positive. */
  readonly vectors: Float64Array;
}

const MAX_SWEEPS = 60;
/** Sweeps for one eigenvalue to relative accuracy; two or three are usual. */
const PATIENT_SWEEPS = 30;

/**
 * Eigenvalues and eigenvectors of a symmetric matrix in float64: Householder reduction to tridiagonal form, then implicit
 * QL with shifts. O(n^3), about 1.5 s for n = 512. The same input gives the same bits.
 *
 * @param matrix - [n, n], symmetric; not changed
 * @throws RangeError when it holds values that are not finite
 * @see Golub & Van Loan, "Matrix Computations", 4th ed., 8.3; the QL form follows EISPACK tql2 (Bowdler et al. 1968)
 */
export function symmetricEigen(matrix: Float64Array, n: number): SymmetricEigen {
  for (let i = 0; i < n * n; i += 1) {
    if (!Number.isFinite(matrix[i])) throw new RangeError('the matrix holds values that are not finite');
  }
  const { diagonal, offDiagonal, basis } = tridiagonalize(matrix, n);
  implicitQl(diagonal, offDiagonal, basis);
  return sorted(diagonal, basis);
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Element i couples i and i + 1; the last is 0. */
  readonly offDiagonal: Float64Array;
  /** Q^T with A = Q T Q^T: rows turn into eigenvectors as QL rotates them. */
  readonly basis: Float64Array;
}

function tridiagonalize(matrix: Float64Array, n: number): Tridiagonal {
  const a = Float64Array.from(matrix);
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(n);
  /** Row k: the Householder vector of step k, at columns k + 1 .. n - 1. */
  const reflectors = new Float64Array(n * n);
  const taus = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k + 1 < n; k += 1) {
    const row = k * n;
    let scale = 0;
    for (let j = k + 2; j < n; j += 1) scale += (a[row + j] ?? 0) ** 2;
    const head = a[row + k + 1] ?? 0;
    if (scale === 0) {
      offDiagonal[k] = head;
      continue;
    }
    const norm = Math.sqrt(scale + head * head);
    const beta = head >= 0 ? -norm : norm;
    const tau = (beta - head) / beta;
    const inverse = 1 / (head - beta);
    reflectors[row + k + 1] = 1;
    for (let j = k + 2; j < n; j += 1) reflectors[row + j] = (a[row + j] ?? 0) * inverse;
    taus[k] = tau;
    offDiagonal[k] = beta;
    rankTwoUpdate(a, reflectors.subarray(row, row + n), w, { n, from: k + 1, tau });
  }
  for (let k = 0; k < n; k += 1) diagonal[k] = a[k * n + k] ?? 0;
  return { diagonal, offDiagonal, basis: accumulate(reflectors, taus, n) };
}

/** A <- H A H for H = I - tau v v^T, on the part from `from` on: A - v w^T - w v^T, w = p - (tau / 2)(p v) v, p = tau A v. */
function rankTwoUpdate(
  a: Float64Array,
  v: Float64Array,
  w: Float64Array,
  { n, from, tau }: { readonly n: number; readonly from: number; readonly tau: number },
): void {
  let dot = 0;
  for (let i = from; i < n; i += 1) {
    const row = i * n;
    let sum = 0;
    for (let j = from; j < n; j += 1) sum += (a[row + j] ?? 0) * (v[j] ?? 0);
    w[i] = tau * sum;
    dot += tau * sum * (v[i] ?? 0);
  }
  const half = (tau / 2) * dot;
  for (let i = from; i < n; i += 1) w[i] = (w[i] ?? 0) - half * (v[i] ?? 0);
  for (let i = from; i < n; i += 1) {
    const row = i * n;
    const vi = v[i] ?? 0;
    const wi = w[i] ?? 0;
    for (let j = from; j < n; j += 1) a[row + j] = (a[row + j] ?? 0) - (vi * (w[j] ?? 0) + wi * (v[j] ?? 0));
  }
}

/** Q^T for Q = H_0 H_1 ..., built from the last reflector on: only the trailing block is not the identity yet. */
function accumulate(reflectors: Float64Array, taus: Float64Array, n: number): Float64Array {
  const q = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) q[i * n + i] = 1;
  for (let k = n - 2; k >= 0; k -= 1) {
    const tau = taus[k] ?? 0;
    if (tau === 0) continue;
    const v = reflectors.subarray(k * n, k * n + n);
    // Q^T <- Q^T H: each row of the trailing block loses its part along v.
    for (let i = k + 1; i < n; i += 1) {
      const row = i * n;
      let dot = 0;
      for (let j = k + 1; j < n; j += 1) dot += (q[row + j] ?? 0) * (v[j] ?? 0);
      dot *= tau;
      for (let j = k + 1; j < n; j += 1) q[row + j] = (q[row + j] ?? 0) - dot * (v[j] ?? 0);
    }
  }
  return q;
}

/** Diagonalizes in place: `d` becomes the eigenvalues, the rows of `z` the eigenvectors. */
function implicitQl(d: Float64Array, e: Float64Array, z: Float64Array): void {
  const n = d.length;
  let norm = 0;
  for (let i = 0; i < n; i += 1) norm = Math.max(norm, Math.abs(d[i] ?? 0) + Math.abs(e[i] ?? 0));
  for (let l = 0; l < n; l += 1) {
    for (let sweep = 0; ; sweep += 1) {
      // A block of eigenvalues that are all rounding of zero never gets small beside itself: it is done where it is small beside the whole.
      const least = sweep < PATIENT_SWEEPS ? 0 : norm;
      let m = l;
      for (; m + 1 < n; m += 1) {
        const size = Math.max(least, Math.abs(d[m] ?? 0) + Math.abs(d[m + 1] ?? 0));
        if (Math.abs(e[m] ?? 0) <= Number.EPSILON * size) break;
      }
      if (m === l) break;
      if (sweep === MAX_SWEEPS) throw new RangeError('the eigenvalues do not converge');
      qlSweep(d, e, z, { l, m });
    }
  }
}

function qlSweep(
  d: Float64Array,
  e: Float64Array,
  z: Float64Array,
  { l, m }: { readonly l: number; readonly m: number },
): void {
  const n = d.length;
  const dl = d[l] ?? 0;
  const el = e[l] ?? 0;
  const half = ((d[l + 1] ?? 0) - dl) / (2 * el);
  const radius = Math.hypot(half, 1);
  let g = (d[m] ?? 0) - dl + el / (half + (half >= 0 ? radius : -radius));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i -= 1) {
    const f = s * (e[i] ?? 0);
    const b = c * (e[i] ?? 0);
    const r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = (d[i + 1] ?? 0) - p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = (d[i + 1] ?? 0) - p;
    const t = ((d[i] ?? 0) - g) * s + 2 * c * b;
    p = s * t;
    d[i + 1] = g + p;
    g = c * t - b;
    const low = i * n;
    const high = low + n;
    for (let k = 0; k < n; k += 1) {
      const x = z[low + k] ?? 0;
      const y = z[high + k] ?? 0;
      z[high + k] = s * x + c * y;
      z[low + k] = c * x - s * y;
    }
  }
  d[l] = (d[l] ?? 0) - p;
  e[l] = g;
  e[m] = 0;
}

function sorted(values: Float64Array, rows: Float64Array): SymmetricEigen {
  const n = values.length;
  const order = Array.from(values.keys()).sort((i, j) => (values[j] ?? 0) - (values[i] ?? 0) || i - j);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => {
    const row = rows.subarray(from * n, from * n + n);
    let largest = 0;
    for (const value of row) if (Math.abs(value) > Math.abs(largest)) largest = value;
    const sign = largest < 0 ? -1 : 1;
    for (let k = 0; k < n; k += 1) vectors[to * n + k] = sign * (row[k] ?? 0);
  });
  return { values: Float64Array.from(order, (i) => values[i] ?? 0), vectors };
}
