import { crowdingDistance, nonDominatedSort } from './pareto.ts';
import { compareByScalar, firstObjective, type Outcome, type Scalarize } from './scalar-order.ts';

/**
 * Outcomes from the best to the worst: by the scalar, where there is one or only one objective; else by front, and within a
 * front by the room around. Equals stay in their order.
 */
export function bestFirst<T extends Outcome>(outcomes: readonly T[], scalarize: Scalarize | undefined): readonly T[] {
  const single = scalarize ?? (outcomes[0]?.objectives.length === 1 ? firstObjective : undefined);
  if (single !== undefined) return outcomes.toSorted(compareByScalar(single));
  return nonDominatedSort(outcomes).flatMap((front) => {
    const own = front.flatMap((i) => outcomes[i] ?? []);
    const room = crowdingDistance(own.map(({ objectives }) => objectives));
    return [...own.keys()].sort((a, b) => descending(room[a], room[b]) || a - b).flatMap((k) => own[k] ?? []);
  });
}

/** Infinities are equal to each other: their difference is not a number. */
function descending(a = 0, b = 0): number {
  return a === b ? 0 : b - a;
}
