import type { Outcome } from './scalar-order.ts';

/**
 * Whether `a` is as good as `b` in every objective and better in one; all are minimized. With constraints (Deb's rules) a
 * feasible outcome dominates every infeasible one, and of two infeasible ones the one that violates less dominates.
 */
export function dominates(a: Outcome, b: Outcome): boolean {
  if (a.violation !== b.violation) return a.violation < b.violation;
  if (a.violation > 0) return false;
  let better = false;
  for (let m = 0; m < a.objectives.length; m += 1) {
    const x = a.objectives[m] ?? 0;
    const y = b.objectives[m] ?? 0;
    if (x > y) return false;
    if (x < y) better = true;
  }
  return better;
}

/**
 * Fast non-dominated sort: fronts of indices, the first dominated by none, each further one only by those before it.
 * Indices rise within a front. O(objectives n^2).
 * @see Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEC 2002, III.A and VI.A
 */
export function nonDominatedSort(outcomes: readonly Outcome[]): number[][] {
  const n = outcomes.length;
  const dominators = new Uint32Array(n);
  const dominated: number[][] = outcomes.map(() => []);
  outcomes.forEach((a, i) => {
    for (let j = i + 1; j < n; j += 1) {
      const b = outcomes[j];
      if (b === undefined) continue;
      const [winner, loser] = dominates(a, b) ? [i, j] : dominates(b, a) ? [j, i] : [-1, -1];
      if (winner < 0) continue;
      dominated[winner]?.push(loser);
      dominators[loser] = (dominators[loser] ?? 0) + 1;
    }
  });
  const fronts: number[][] = [];
  let front = [...dominators.keys()].filter((i) => dominators[i] === 0);
  while (front.length > 0) {
    fronts.push(front);
    const next: number[] = [];
    for (const i of front)
      for (const j of dominated[i] ?? []) {
        const left = (dominators[j] ?? 0) - 1;
        dominators[j] = left;
        if (left === 0) next.push(j);
      }
    front = next.sort((a, b) => a - b);
  }
  return fronts;
}

export interface Survivor<O> {
  readonly outcome: O;
  /** Of its front. */
  readonly rank: number;
  readonly crowding: number;
}

/**
 * The best of the outcomes: whole fronts while they fit; of the front that does not, those with most room around.
 * @see Deb et al. 2002, III.C
 */
export function survivors<O extends Outcome & { readonly index: number }>(
  outcomes: readonly O[],
  count: number,
): Survivor<O>[] {
  const members: Survivor<O>[] = [];
  for (const [rank, front] of nonDominatedSort(outcomes).entries()) {
    const own = front.flatMap((i) => outcomes[i] ?? []);
    const crowding = crowdingDistance(own.map(({ objectives }) => objectives));
    const ranked = own.map((outcome, k): Survivor<O> => ({ outcome, rank, crowding: crowding[k] ?? 0 }));
    const room = count - members.length;
    if (ranked.length > room) ranked.sort((a, b) => b.crowding - a.crowding || a.outcome.index - b.outcome.index);
    members.push(...ranked.slice(0, room));
    if (members.length === count) break;
  }
  return members;
}

/**
 * How much room each point of a front has: the sum over the objectives of the distance between its two neighbours, as a share
 * of the front's range; Infinity for the ends. O(objectives n log n).
 * @see Deb et al. 2002, III.B
 */
export function crowdingDistance(front: readonly (readonly number[])[]): Float64Array {
  const n = front.length;
  const distance = new Float64Array(n);
  const objectives = front[0]?.length ?? 0;
  for (let m = 0; m < objectives; m += 1) {
    const at = (i: number | undefined): number => front[i ?? -1]?.[m] ?? 0;
    const order = [...front.keys()].sort((i, j) => at(i) - at(j) || i - j);
    const [first = 0, last = 0] = [order[0], order[n - 1]];
    distance[first] = Infinity;
    distance[last] = Infinity;
    const range = at(last) - at(first);
    // All alike, or all failed: this objective tells nothing.
    if (!(range > 0 && range < Infinity)) continue;
    for (let k = 1; k + 1 < n; k += 1) {
      const i = order[k] ?? 0;
      distance[i] = (distance[i] ?? 0) + (at(order[k + 1]) - at(order[k - 1])) / range;
    }
  }
  return distance;
}

/** Indices of the feasible outcomes that none dominates, rising; empty when none is feasible. Equal outcomes all belong. */
export function paretoSet(outcomes: readonly Outcome[]): number[] {
  const feasible = outcomes.flatMap(({ objectives, violation }, i) =>
    violation === 0 && objectives.every(Number.isFinite) ? [{ objectives, violation, i }] : [],
  );
  return feasible.filter((a) => !feasible.some((b) => dominates(b, a))).map(({ i }) => i);
}
