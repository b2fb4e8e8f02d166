import type { JsonValue, Point, SearchSpace } from './space.ts';
import type { Outcome } from './scalar-order.ts';

export interface Level {
  /** The value, or the smallest and largest of the trials in a stretch of values. */
  readonly value: JsonValue;
  readonly trials: number;
  /** Mean of the objective. */
  readonly mean: number;
}

export interface DimensionImportance {
  readonly name: string;
  /** Share of the objective's variance that the dimension explains alone, 0..1. The shares of all need not add up to 1. */
  readonly share: number;
  readonly levels: readonly Level[];
}

/** Numbers with more values than this are taken in this many stretches of about as many trials each. */
const MAX_LEVELS = 6;

/**
 * How much each dimension alone decides of an objective, largest first: one-way analysis of variance over the trials. The share is
 * epsilon squared, which, unlike the plain ratio of sums of squares, does not grow with the number of values, so a
 * dimension without influence has about 0.
 *
 * It tells what the trials show, no more: effects that show only in combination are not seen, and where a strategy has come to
 * prefer some points, dimensions that were chosen together share what only one of them brings. Random trials show it best.
 * Failed trials are left out.
 *
 * @param objective - which one, 0 ..
 * @returns empty when fewer than 3 trials have a value, or all have the same
 * @see Okada, "Is Omega Squared Less Biased? A Comparison of Three Major Effect Size Indices", Behaviormetrika 2013; for the idea
 * Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance" (functional ANOVA), ICML 2014
 */
export function importance(
  space: SearchSpace,
  trials: readonly (Outcome & { readonly point: Point })[],
  objective = 0,
): readonly DimensionImportance[] {
  const rows = trials.flatMap(({ point, objectives }): Row[] => {
    const value = objectives[objective];
    return value !== undefined && Number.isFinite(value) ? [{ coordinates: space.encode(point), point, value }] : [];
  });
  const mean = meanOf(rows);
  const total = rows.reduce((sum, { value }) => sum + (value - mean) ** 2, 0);
  if (rows.length < 3 || total === 0) return [];
  return space.dimensions
    .map(({ name }, d) => {
      const groups = groupsOf(space, rows, d);
      const within = groups.reduce((sum, group) => {
        const own = meanOf(group);
        return sum + group.reduce((squares, { value }) => squares + (value - own) ** 2, 0);
      }, 0);
      const free = rows.length - groups.length;
      return {
        name,
        share: free > 0 ? Math.max(0, 1 - (within / free) * ((rows.length - 1) / total)) : 0,
        levels: groups.map((group) => ({ value: valueOf(group, name), trials: group.length, mean: meanOf(group) })),
      };
    })
    .sort((a, b) => b.share - a.share);
}

interface Row {
  readonly coordinates: readonly number[];
  readonly point: Point;
  readonly value: number;
}

/** By value; ordered dimensions with many values by stretches. In rising order of the coordinate. */
function groupsOf(space: SearchSpace, rows: readonly Row[], d: number): Row[][] {
  const sorted = rows.toSorted((a, b) => (a.coordinates[d] ?? 0) - (b.coordinates[d] ?? 0));
  const runs: Row[][] = [];
  let last: number | undefined;
  for (const row of sorted) {
    const coordinate = row.coordinates[d] ?? 0;
    if (coordinate === last) runs.at(-1)?.push(row);
    else runs.push([row]);
    last = coordinate;
  }
  if (!space.ordered(d) || runs.length <= MAX_LEVELS) return runs;
  const stretches: Row[][] = [];
  let taken = 0;
  for (const run of runs) {
    // A value is never torn apart: it belongs where its first trial does.
    const stretch = Math.floor((taken * MAX_LEVELS) / rows.length);
    (stretches[stretch] ??= []).push(...run);
    taken += run.length;
  }
  return stretches.filter((stretch) => stretch.length > 0);
}

function valueOf(group: readonly Row[], name: string): JsonValue {
  const [first, last] = [group[0]?.point[name] ?? null, group.at(-1)?.point[name] ?? null];
  return JSON.stringify(first) === JSON.stringify(last) ? first : [first, last];
}

function meanOf(rows: readonly Row[]): number {
  return rows.reduce((sum, { value }) => sum + value, 0) / rows.length;
}
