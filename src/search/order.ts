import { crowdingDistance, nonDominatedSort } from './pareto.ts';
import { compareByScalar, firstObjective, type Outcome, type Scalarize } from './scalar-order.ts';

/**
 * Which of two of the outcomes is better, below 0 when the first one is: by the scalar, where there is one or only one
 * objective; else by front, and within a front by the room around (the crowded comparison).
 * @see Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEC 2002, III.C
 */
export function comparisonAmong<T extends Outcome>(
  outcomes: readonly T[],
  scalarize: Scalarize | undefined,
): (a: T, b: T) => number {
  const single = scalarize ?? (outcomes[0]?.objectives.length === 1 ? firstObjective : undefined);
  if (single !== undefined) return compareByScalar(single);
  const places = new Map<T, { readonly rank: number; readonly room: number }>();
  for (const [rank, front] of nonDominatedSort(outcomes).entries()) {
    const own = front.flatMap((i) => outcomes[i] ?? []);
    const room = crowdingDistance(own.map(({ objectives }) => objectives));
    for (const [k, outcome] of own.entries()) places.set(outcome, { rank, room: room[k] ?? 0 });
  }
  return (a, b) => {
    const [one, other] = [places.get(a), places.get(b)];
    return (one?.rank ?? 0) - (other?.rank ?? 0) || descending(one?.room, other?.room);
  };
}

/** Outcomes from the best to the worst; equals stay in their order. */
export function bestFirst<T extends Outcome>(outcomes: readonly T[], scalarize: Scalarize | undefined): readonly T[] {
  return outcomes.toSorted(comparisonAmong(outcomes, scalarize));
}

/** Infinities are equal to each other: their difference is not a number. */
function descending(a = 0, b = 0): number {
  return a === b ? 0 : b - a;
}
