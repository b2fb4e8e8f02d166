import { gramOfRows, multiply, transpose } from './matrix.ts';
import { symmetricEigen } from './symmetric-eigen.ts';

/** A = sum over k of values[k] * left row k (as a column) * right row k. */
export interface Svd {
  /** min(rows, cols) singular values, largest first. */
  readonly values: Float64Array;
  /** [k, rows]: row i is the unit left singular vector of `values[i]`. */
  readonly left: Float64Array;
  /** [k, cols]. */
  readonly right: Float64Array;
}

/** Multiply-accumulates of all sweeps, above which Jacobi takes seconds. */
const JACOBI_WORK = 1e8;
const MAX_SWEEPS = 40;

/**
 * Singular value decomposition in float64; the same input gives the same bits.
 *
 * - Small matrices: one-sided Jacobi, every singular value to about 1e-15 of the largest one.
 * - Larger ones (512 x 4608 in about 3 s): eigenvectors of the Gram matrix of the shorter side. Squaring costs half the digits: values
 *   below 1e-7 of the largest one are noise, which is what float32 weights themselves carry. The vectors of the shorter
 *   side stay orthonormal to 1e-13 all the same, so projecting on all of them loses nothing.
 *
 * Vectors of the longer side that belong to a value of (nearly) zero are zeros.
 *
 * @param a - [rows, cols], not changed
 * @throws RangeError when it holds values that are not finite
 * @see Golub & Van Loan, "Matrix Computations", 4th ed., 8.6.3 (one-sided Jacobi), 8.6.1 (Gram matrix)
 */
export function svd(a: Float64Array, rows: number, cols: number): Svd {
  if (!a.every(Number.isFinite)) throw new RangeError('the matrix holds values that are not finite');
  if (rows > cols) {
    const { values, left, right } = svd(transpose(a, rows, cols), cols, rows);
    return { values, left: right, right: left };
  }
  const work = 8 * rows * rows * (cols + rows);
  return work <= JACOBI_WORK ? jacobi(a, rows, cols) : fromGram(a, rows, cols);
}

/** Rotates pairs of rows until all are orthogonal: their norms are the singular values. */
function jacobi(a: Float64Array, rows: number, cols: number): Svd {
  const work = Float64Array.from(a);
  /** Starts as the identity and takes every rotation: the row i of it makes row i of `work` from A. */
  const rotation = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i += 1) rotation[i * rows + i] = 1;
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep += 1) {
    let rotated = false;
    for (let i = 0; i + 1 < rows; i += 1) {
      for (let j = i + 1; j < rows; j += 1) {
        const x = work.subarray(i * cols, (i + 1) * cols);
        const y = work.subarray(j * cols, (j + 1) * cols);
        const angle = rotationOf(x, y);
        if (angle === undefined) continue;
        rotated = true;
        rotate(x, y, angle);
        rotate(rotation.subarray(i * rows, (i + 1) * rows), rotation.subarray(j * rows, (j + 1) * rows), angle);
      }
    }
    if (!rotated) break;
  }
  const norms = Float64Array.from({ length: rows }, (_, i) => norm(work.subarray(i * cols, (i + 1) * cols)));
  const order = largestFirst(norms);
  const left = new Float64Array(rows * rows);
  const right = new Float64Array(rows * cols);
  order.forEach((from, to) => {
    const size = norms[from] ?? 0;
    const own = rotation.subarray(from * rows, (from + 1) * rows);
    const sign = signOf(own);
    for (let k = 0; k < rows; k += 1) left[to * rows + k] = sign * (own[k] ?? 0);
    if (size > 0) for (let k = 0; k < cols; k += 1) right[to * cols + k] = (sign * (work[from * cols + k] ?? 0)) / size;
  });
  return { values: Float64Array.from(order, (i) => norms[i] ?? 0), left, right };
}

interface Rotation {
  readonly cosine: number;
  readonly sine: number;
}

/** What makes two rows orthogonal; undefined where they are. */
function rotationOf(x: Float64Array, y: Float64Array): Rotation | undefined {
  const count = x.length;
  let [xx, yy, xy] = [0, 0, 0];
  for (let k = 0; k < count; k += 1) {
    const a = x[k] ?? 0;
    const b = y[k] ?? 0;
    xx += a * a;
    yy += b * b;
    xy += a * b;
  }
  // As far as rounding lets the sum of `count` products tell.
  if (Math.abs(xy) <= 2 * Number.EPSILON * Math.sqrt(count * xx * yy)) return undefined;
  const zeta = (yy - xx) / (2 * xy);
  const tangent = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const cosine = 1 / Math.hypot(1, tangent);
  return { cosine, sine: cosine * tangent };
}

function rotate(x: Float64Array, y: Float64Array, { cosine, sine }: Rotation): void {
  const count = x.length;
  for (let k = 0; k < count; k += 1) {
    const a = x[k] ?? 0;
    const b = y[k] ?? 0;
    x[k] = cosine * a - sine * b;
    y[k] = sine * a + cosine * b;
  }
}

function fromGram(a: Float64Array, rows: number, cols: number): Svd {
  const { vectors } = symmetricEigen(gramOfRows(a, rows, cols), rows);
  const products = multiply(vectors, a, { rows, inner: rows, cols });
  const norms = Float64Array.from({ length: rows }, (_, i) => norm(products.subarray(i * cols, (i + 1) * cols)));
  const order = largestFirst(norms);
  const left = new Float64Array(rows * rows);
  const right = new Float64Array(rows * cols);
  order.forEach((from, to) => {
    left.set(vectors.subarray(from * rows, (from + 1) * rows), to * rows);
    const size = norms[from] ?? 0;
    if (size <= 1e-12 * (norms[order[0] ?? 0] ?? 0)) return;
    for (let k = 0; k < cols; k += 1) right[to * cols + k] = (products[from * cols + k] ?? 0) / size;
  });
  return { values: Float64Array.from(order, (i) => norms[i] ?? 0), left, right };
}

function largestFirst(values: Float64Array): number[] {
  return Array.from(values.keys()).sort((i, j) => (values[j] ?? 0) - (values[i] ?? 0) || i - j);
}

function norm(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/** -1 when the component of largest magnitude is negative. */
function signOf(values: Float64Array): number {
  let largest = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(largest)) largest = value;
  return largest < 0 ? -1 : 1;
}
