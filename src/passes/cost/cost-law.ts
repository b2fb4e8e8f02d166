import { inverseCholesky } from '../../numerics/cholesky.ts';

/** What a law of time depends on; see `KernelCostSchema`. */
interface Measured {
  readonly shape: readonly number[];
  readonly work: number;
}

/**
 * Work, results that are written, values that are gathered for them, places where results are, one call: an int8 kernel takes as
 * long to round a result to codes as for some eighty products, and reads a window in the time of many, so with few products a
 * result, or few results a window, the work alone says little.
 */
function termsOf({ shape: [outputs = 1, reduction = 1], work }: Measured): readonly number[] {
  return [work, work / reduction, work / outputs, work / outputs / reduction, 1];
}

const TERMS = 5;
/** Sets of terms, the simpler ones first: of equally good laws the first counts. */
const TERM_SETS: readonly (readonly number[])[] = Array.from({ length: 2 ** TERMS - 1 }, (_, bits) =>
  Array.from({ length: TERMS }, (_unused, term) => term).filter((term) => ((bits + 1) >> term) % 2 === 1),
).sort((a, b) => a.length - b.length);
/** A law with more terms has to be better by this share of the error that is left. */
const BETTER = 0.99;

/**
 * The law `time = a * work + b * results + c * gathered + d * places + e` with a, b, c, d, e >= 0 that is nearest to the measured times, by the sum of squared relative
 * errors. Non-negative least squares by trying all sets of terms.
 *
 * @param times - positive, one for each of `measured`
 * @returns the time at any shape, above 0 for positive work
 */
export function fitLaw(measured: readonly Measured[], times: readonly number[]): (at: Measured) => number {
  const rows = measured.map((one, index) => termsOf(one).map((term) => term / (times[index] ?? 1)));
  let best: { readonly factors: readonly number[]; readonly error: number } | undefined;
  for (const terms of TERM_SETS) {
    const factors = leastSquares(rows.map((row) => terms.map((term) => row[term] ?? 0)));
    if (factors?.every((factor) => factor >= 0) !== true) continue;
    const all = new Array<number>(TERMS).fill(0);
    terms.forEach((term, index) => (all[term] = factors[index] ?? 0));
    const error = rows.reduce((sum, row) => sum + (dot(row, all) - 1) ** 2, 0);
    if (best === undefined || error < BETTER * best.error - 1e-12) best = { factors: all, error };
  }
  const factors = best?.factors ?? [];
  return (at) => dot(termsOf(at), factors);
}

/** Of a matrix with a diagonal of ones: where columns are equal, what belongs to them is shared. */
const RIDGE = 1e-9;

/** x that brings `rows` · x nearest to ones. */
function leastSquares(rows: readonly (readonly number[])[]): number[] | undefined {
  const size = rows[0]?.length ?? 0;
  // Columns are brought to length 1: work is in millions where a call is 1.
  const columns = Array.from({ length: size }, (_, j) => rows.map((row) => row[j] ?? 0));
  const lengths = columns.map((column) => Math.hypot(...column));
  const scaled = columns.map((column, j) => column.map((value) => value / (lengths[j] ?? 1)));
  const gram = scaled.flatMap((a, i) => scaled.map((b, j) => dot(a, b) + (i === j ? RIDGE : 0)));
  const sums = scaled.map((column) => column.reduce((sum, value) => sum + value, 0));
  const root = inverseCholesky(Float64Array.from(gram), size);
  if (root === undefined) return undefined;
  // inverse = rootᵀ root
  const half = sums.map((_, i) => dot(sums, Array.from(root.subarray(i * size, (i + 1) * size))));
  return half.map(
    (_, j) => half.reduce((sum, value, i) => sum + value * (root[i * size + j] ?? 0), 0) / (lengths[j] ?? 1),
  );
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
}
