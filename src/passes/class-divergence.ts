/** Below this a class counts as having this probability: what a model rules out costs much, not everything. */
const LEAST = 1e-9;
/** How far sums of float32 probabilities may be from 1. */
const TOLERANCE = 1e-3;

/** Scores of classes: rows of `classes` numbers, the first `count` of them samples. */
export interface ClassScores {
  readonly count: number;
  readonly classes: number;
}

/**
 * Sum over the samples of KL(p || q) in nats, p and q the classes' probabilities by `expected` and by `actual`: the scores
 * themselves where those of `expected` are probabilities, else their softmax. Infinite where scores are not finite.
 * O(count classes).
 */
export function classDivergences(
  expected: Float32Array,
  actual: Float32Array,
  { count, classes }: ClassScores,
): number {
  const logOf = areProbabilities(expected, { count, classes }) ? logs : logSoftmax;
  const [p, q] = [new Float64Array(classes), new Float64Array(classes)];
  let sum = 0;
  for (let sample = 0; sample < count; sample += 1) {
    logOf(expected, sample * classes, p);
    logOf(actual, sample * classes, q);
    for (let i = 0; i < classes; i += 1) {
      const share = Math.exp(p[i] ?? 0);
      if (share !== 0) sum += share * ((p[i] ?? 0) - (q[i] ?? 0));
    }
  }
  return Number.isFinite(sum) ? Math.max(sum, 0) : Infinity;
}

function areProbabilities(scores: Float32Array, { count, classes }: ClassScores): boolean {
  for (let sample = 0; sample < count; sample += 1) {
    let sum = 0;
    for (let i = sample * classes; i < (sample + 1) * classes; i += 1) {
      const score = scores[i] ?? NaN;
      if (!(score >= 0)) return false;
      sum += score;
    }
    if (Math.abs(sum - 1) > TOLERANCE) return false;
  }
  return true;
}

function logs(scores: Float32Array, from: number, to: Float64Array): void {
  // Math.max would let NaN pass as it is, and so it must be seen.
  for (let i = 0; i < to.length; i += 1) to[i] = Math.log(Math.max(scores[from + i] ?? NaN, LEAST));
}

function logSoftmax(scores: Float32Array, from: number, to: Float64Array): void {
  let largest = -Infinity;
  for (let i = 0; i < to.length; i += 1) largest = Math.max(largest, scores[from + i] ?? NaN);
  let sum = 0;
  for (let i = 0; i < to.length; i += 1) sum += Math.exp((scores[from + i] ?? NaN) - largest);
  const shift = largest + Math.log(sum);
  for (let i = 0; i < to.length; i += 1) to[i] = (scores[from + i] ?? NaN) - shift;
}
