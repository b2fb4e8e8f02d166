/**
 * What `maxAccuracyDrop` limits, above 0 when the result is worse: the share of samples lost; for `rmse`, which has the target's
 * own units, the relative growth of the error (Infinity where there was none).
 */
export function accuracyDrop(metric: string | undefined, before: number, after: number): number {
  if (metric !== 'rmse') return before - after;
  return before === 0 ? (after === 0 ? 0 : Infinity) : after / before - 1;
}

/** The accuracy at which the drop is `drop`: the least that is allowed, or of `rmse` the most. */
export function accuracyAfterDrop(metric: string | undefined, before: number, drop: number): number {
  return metric === 'rmse' ? before * (1 + drop) : before - drop;
}
