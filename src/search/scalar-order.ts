/** One number for several objectives, to minimize. */
export type Scalarize = (objectives: readonly number[]) => number;

export const firstObjective: Scalarize = ([first = Infinity]) => first;

/** @param weights - one an objective */
export function weightedSum(weights: readonly number[]): Scalarize {
  return (objectives) => objectives.reduce((sum, value, i) => sum + value * (weights[i] ?? 0), 0);
}

/** What a trial is judged by. */
export interface Outcome {
  readonly objectives: readonly number[];
  readonly violation: number;
}

/** Below 0 when `a` is better: first by violation (0 = feasible), among equals by the scalar. Failed trials come last. */
export function compareByScalar(scalarize: Scalarize): (a: Outcome, b: Outcome) => number {
  return (a, b) => compareNumbers(a.violation, b.violation) || compareNumbers(valueOf(a), valueOf(b));
  // Weights of mixed signs, or of 0, make NaN of the infinities of failed trials.
  function valueOf({ objectives, violation }: Outcome): number {
    return violation === Infinity ? Infinity : scalarize(objectives);
  }
}

function compareNumbers(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
