import { inverseCholesky } from '../../../numerics/cholesky.ts';
import { multiplyTransposed } from '../../../numerics/matrix.ts';

/** Sums over the rows of X [rows, inputs] and Y [rows, outputs], in float64. */
export class RegressionSums {
  readonly inputs: number;
  readonly outputs: number;
  rows = 0;
  /** XᵀX, [inputs, inputs]. */
  readonly xx: Float64Array;
  /** YᵀX, [outputs, inputs]. */
  readonly yx: Float64Array;
  readonly x: Float64Array;
  readonly y: Float64Array;
  readonly yy: Float64Array;

  constructor(inputs: number, outputs: number) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.xx = new Float64Array(inputs * inputs);
    this.yx = new Float64Array(outputs * inputs);
    this.x = new Float64Array(inputs);
    this.y = new Float64Array(outputs);
    this.yy = new Float64Array(outputs);
  }

  /** Adds what is linear in the number of columns. O(rows (inputs + outputs)). */
  addRows(x: Float32Array, y: Float32Array, rows: number): void {
    this.rows += rows;
    for (let row = 0; row < rows; row += 1) {
      const [atX, atY] = [row * this.inputs, row * this.outputs];
      for (let i = 0; i < this.inputs; i += 1) this.x[i] = (this.x[i] ?? 0) + (x[atX + i] ?? 0);
      for (let o = 0; o < this.outputs; o += 1) {
        const value = y[atY + o] ?? 0;
        this.y[o] = (this.y[o] ?? 0) + value;
        this.yy[o] = (this.yy[o] ?? 0) + value * value;
      }
    }
  }

  /** Adds XᵀX and YᵀX. O(rows inputs (inputs + outputs)): for a few columns only. */
  addProducts(x: Float32Array, y: Float32Array, rows: number): void {
    const { inputs, outputs, xx, yx } = this;
    for (let row = 0; row < rows; row += 1) {
      const [atX, atY] = [row * inputs, row * outputs];
      const addScaled = (target: Float64Array, line: number, factor: number): void => {
        for (let j = 0; j < inputs; j += 1) target[line + j] = (target[line + j] ?? 0) + factor * (x[atX + j] ?? 0);
      };
      for (let i = 0; i < inputs; i += 1) addScaled(xx, i * inputs, x[atX + i] ?? 0);
      for (let o = 0; o < outputs; o += 1) addScaled(yx, o * inputs, y[atY + o] ?? 0);
    }
  }
}

export interface LinearFit {
  /** [outputs, inputs]. */
  readonly weights: Float64Array;
  /** What to add to the bias; zeros where none may be added. */
  readonly shift: Float64Array;
  /** Mean squared error over the variance of Y, all outputs together, with the given weights and with the new ones. */
  readonly errorBefore: number;
  readonly errorAfter: number;
}

export interface FitOptions {
  /** [outputs, inputs]; with `bias` [outputs] what the layer computes now. */
  readonly weights: Float64Array;
  readonly bias: Float64Array;
  /** Whether a constant may be added to each output. */
  readonly shifts: boolean;
  /** Of the mean of the squared inputs. */
  readonly damping: number;
}

/**
 * Least squares with a pull towards the weights there are: W' = argmin |Y - X W'ᵀ - b'|² / rows + damping d |W' - W|², d the mean of
 * the diagonal of XᵀX / rows. What the data do not determine stays as it is. Solved as W' = W + (S_yx - W S_xx) (S_xx + damping d I)⁻¹ by
 * Cholesky factorization; with `shifts` the moments S are centered, and b' takes the means. O(inputs³ + outputs inputs²).
 *
 * @param sums - used up by it
 * @returns undefined when the moments are not finite
 */
export function fitLinear(sums: RegressionSums, { weights, bias, shifts, damping }: FitOptions): LinearFit | undefined {
  const { inputs, outputs } = sums;
  const moments = momentsOf(sums, bias, shifts);
  const { xx, yx } = moments;
  let trace = 0;
  for (let i = 0; i < inputs; i += 1) trace += xx[i * inputs + i] ?? 0;
  if (!Number.isFinite(trace) || !yx.every(Number.isFinite)) return undefined;
  const result = Float64Array.from(weights);
  if (trace > 0) {
    const inverse = dampedInverse(xx, { inputs, damping: (damping * trace) / inputs });
    if (inverse === undefined) return undefined;
    // (Y - W X) X in terms of moments; xx is symmetric, so rows meet rows.
    const explained = multiplyTransposed(weights, xx, { rows: outputs, inner: inputs, cols: inputs });
    const residual = yx.map((value, at) => value - (explained[at] ?? 0));
    const half = multiplyTransposed(residual, inverse, { rows: outputs, inner: inputs, cols: inputs });
    addTimesUpper(result, half, inverse, inputs);
  }
  const offsets = (matrix: Float64Array): Float64Array =>
    moments.meanY.map((mean, o) => {
      for (let i = 0; i < inputs; i += 1) mean -= (matrix[o * inputs + i] ?? 0) * (moments.meanX[i] ?? 0);
      return mean;
    });
  const shift = shifts ? offsets(result) : new Float64Array(outputs);
  const before = meanError(moments, weights, shifts ? offsets(weights) : shift);
  const after = meanError(moments, result, new Float64Array(outputs));
  return { weights: result, shift, errorBefore: before, errorAfter: after };
}

interface Moments {
  readonly xx: Float64Array;
  readonly yx: Float64Array;
  /** Zeros where the moments are not centered. */
  readonly meanX: Float64Array;
  readonly meanY: Float64Array;
  /** Mean square, around the mean where centered. */
  readonly yy: Float64Array;
  /** Variance of Y, summed over the outputs. */
  readonly variance: number;
}

/** Moments of X and of Y - bias. Takes the sums' XᵀX over. */
function momentsOf(sums: RegressionSums, bias: Float64Array, centered: boolean): Moments {
  const { inputs, outputs, rows } = sums;
  const meanX = sums.x.map((value) => value / rows);
  const meanY = sums.y.map((value, o) => value / rows - (bias[o] ?? 0));
  // In place of the sums: the matrix can take 170 MB.
  const { xx } = sums;
  for (let i = 0; i < inputs; i += 1) {
    const own = centered ? (meanX[i] ?? 0) : 0;
    // Exactly symmetric, whatever the rounding of the sums.
    for (let j = 0; j <= i; j += 1) {
      const value = (xx[i * inputs + j] ?? 0) / rows - own * (meanX[j] ?? 0);
      xx[i * inputs + j] = value;
      xx[j * inputs + i] = value;
    }
  }
  const yx = new Float64Array(outputs * inputs);
  const yy = new Float64Array(outputs);
  let variance = 0;
  for (let o = 0; o < outputs; o += 1) {
    const [mean, offset] = [meanY[o] ?? 0, bias[o] ?? 0];
    const rawMean = mean + offset;
    for (let i = 0; i < inputs; i += 1) {
      const at = o * inputs + i;
      yx[at] = (sums.yx[at] ?? 0) / rows - (centered ? rawMean : offset) * (meanX[i] ?? 0);
    }
    const own = (sums.yy[o] ?? 0) / rows - rawMean * rawMean;
    variance += own;
    yy[o] = centered ? own : own + mean * mean;
  }
  const zeros = (length: number): Float64Array => new Float64Array(length);
  return centered
    ? { xx, yx, yy, variance, meanX, meanY }
    : { xx, yx, yy, variance, meanX: zeros(inputs), meanY: zeros(outputs) };
}

/** Of Y = X Wᵀ + offset, over the variance of Y. */
function meanError({ xx, yx, yy, variance }: Moments, weights: Float64Array, offsets: Float64Array): number {
  const [inputs, outputs] = [Math.sqrt(xx.length), yy.length];
  const explained = multiplyTransposed(weights, xx, { rows: outputs, inner: inputs, cols: inputs });
  let sum = 0;
  for (let o = 0; o < outputs; o += 1) {
    let own = (yy[o] ?? 0) + (offsets[o] ?? 0) ** 2;
    for (let at = o * inputs; at < (o + 1) * inputs; at += 1) {
      own += (weights[at] ?? 0) * ((explained[at] ?? 0) - 2 * (yx[at] ?? 0));
    }
    sum += Math.max(0, own);
  }
  return variance > 0 ? sum / variance : 0;
}

/** U with UᵀU = (A + damping I)⁻¹; more damping where rounding made A indefinite. `a` is the same afterwards. */
function dampedInverse(
  a: Float64Array,
  { inputs, damping }: { readonly inputs: number; readonly damping: number },
): Float64Array | undefined {
  // In place: the matrix can take 170 MB.
  const diagonal = Float64Array.from({ length: inputs }, (_, i) => a[i * inputs + i] ?? 0);
  const setDiagonal = (added: number): void => diagonal.forEach((value, i) => (a[i * inputs + i] = value + added));
  try {
    for (let factor = 1; factor <= 1e6; factor *= 10) {
      setDiagonal(damping * factor);
      const inverse = inverseCholesky(a, inputs);
      if (inverse !== undefined) return inverse;
    }
    return undefined;
  } finally {
    setDiagonal(0);
  }
}

/** target += A U, U upper triangular [n, n]. */
function addTimesUpper(target: Float64Array, a: Float64Array, u: Float64Array, n: number): void {
  for (let row = 0; row < a.length; row += n) {
    for (let k = 0; k < n; k += 1) {
      const factor = a[row + k] ?? 0;
      for (let j = k; j < n; j += 1) target[row + j] = (target[row + j] ?? 0) + factor * (u[k * n + j] ?? 0);
    }
  }
}
