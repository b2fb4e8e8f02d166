import { erfc } from '../numerics/erfc.ts';
import { ranks } from './ranks.ts';

export interface MannWhitneyTest {
  /** Exact while there are no ties and the samples are small; else normal with corrections for ties and continuity. */
  readonly method: 'mann-whitney-exact' | 'mann-whitney-normal';
  /** Pairs in which the first sample's value is the larger one; ties count half. */
  readonly u: number;
  readonly pValue: number;
}

/** What is claimed of values of the first sample beside those of the second. */
export type Alternative = 'two-sided' | 'less' | 'greater';

/** Pairs of values up to which probabilities are counted. */
const EXACT_PAIRS = 2500;

/**
 * Mann-Whitney U test: could both samples be of the same distribution, given how often a value of the first is the larger of
 * a pair? Asks for no distribution, so it suits the best values of runs of a search.
 *
 * @throws RangeError when a sample is empty
 * @see Mann & Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other", 1947
 */
export function mannWhitney(
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  alternative: Alternative = 'two-sided',
): MannWhitneyTest {
  const [n, m] = [first.length, second.length];
  if (n === 0 || m === 0) throw new RangeError(`Mann-Whitney test of ${n} and ${m} values: both need at least one`);
  const all = Float64Array.from([...Array.from(first), ...Array.from(second)]);
  let u = (-n * (n + 1)) / 2;
  for (const rank of ranks(all).subarray(0, n)) u += rank;
  const tied = new Set(all).size < all.length;
  const exact = !tied && n * m <= EXACT_PAIRS;
  /** P(U >= value) when both are alike. */
  const upper = exact ? exactUpperTail(n, m) : normalUpperTail(all, n, m);
  const tails = { greater: upper(u), less: upper(n * m - u) };
  const pValue = alternative === 'two-sided' ? 2 * Math.min(tails.greater, tails.less) : tails[alternative];
  return { method: exact ? 'mann-whitney-exact' : 'mann-whitney-normal', u, pValue: Math.min(1, pValue) };
}

/** By the number of orders that have each U: the product of (1 - q^(m + i)) / (1 - q^i) for i = 1 .. n, as shares. O(n^2 m). */
function exactUpperTail(n: number, m: number): (u: number) => number {
  const shares = new Float64Array(n * m + 1);
  shares[0] = 1;
  for (let i = 1; i <= n; i += 1) {
    for (let k = n * m; k >= m + i; k -= 1) shares[k] = (shares[k] ?? 0) - (shares[k - m - i] ?? 0);
    for (let k = i; k <= n * m; k += 1) shares[k] = (shares[k] ?? 0) + (shares[k - i] ?? 0);
    // C(m + i, i) grows by (m + i) / i: kept as shares, the numbers stay small.
    for (let k = 0; k <= n * m; k += 1) shares[k] = ((shares[k] ?? 0) * i) / (m + i);
  }
  return (u) => {
    // By symmetry P(U >= u) = P(U <= n m - u): small shares come of small ones only, so small tails are exact to rounding.
    let sum = 0;
    for (let k = 0; k <= n * m - u; k += 1) sum += shares[k] ?? 0;
    return sum;
  };
}

function normalUpperTail(all: Float64Array, n: number, m: number): (u: number) => number {
  const total = n + m;
  const counts = new Map<number, number>();
  for (const value of all) counts.set(value, (counts.get(value) ?? 0) + 1);
  let ties = 0;
  for (const t of counts.values()) ties += t ** 3 - t;
  const deviation = Math.sqrt(((n * m) / 12) * (total + 1 - ties / (total * (total - 1))));
  return (u) => {
    // All values alike: no order, no evidence.
    if (deviation === 0) return 1;
    return erfc((u - (n * m) / 2 - 0.5) / (deviation * Math.SQRT2)) / 2;
  };
}
