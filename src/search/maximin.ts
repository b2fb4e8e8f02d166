import { dominates } from './pareto.ts';

/**
 * How far each point in turn lies behind the front of those before it, to minimize: max over the points a of that front of
 * min over the objectives m of (x_m - a_m) / range_m. Above 0: dominated, and by so much; below 0: new on the front, with so
 * much room to its nearest neighbour, whatever part of the front that is. Ranges are of the points seen so far; an objective
 * that was always the same says nothing. 0 for the first point. Any number of objectives, all minimized. O(front) a point.
 * @see Balling, "The Maximin Fitness Function; Multi-objective City and Regional Planning", EMO 2003, eq. 2
 */
export function maximinOfSeen(): (point: readonly number[]) => number {
  let front: readonly (readonly number[])[] = [];
  let lowest: readonly number[] = [];
  let highest: readonly number[] = [];
  return (point) => {
    lowest = point.map((value, m) => Math.min(value, lowest[m] ?? value));
    highest = point.map((value, m) => Math.max(value, highest[m] ?? value));
    const ranges = point.flatMap((_, m) => {
      const range = (highest[m] ?? 0) - (lowest[m] ?? 0);
      return range > 0 ? [{ m, range }] : [];
    });
    const behind = (other: readonly number[]): number =>
      Math.min(...ranges.map(({ m, range }) => ((point[m] ?? 0) - (other[m] ?? 0)) / range));
    const fitness = front.length === 0 || ranges.length === 0 ? 0 : Math.max(...front.map(behind));
    front = withPoint(front, point);
    return fitness;
  };
}

function withPoint(front: readonly (readonly number[])[], point: readonly number[]): readonly (readonly number[])[] {
  const isBetter = (a: readonly number[], b: readonly number[]): boolean =>
    dominates({ objectives: a, violation: 0 }, { objectives: b, violation: 0 });
  if (front.some((other) => isBetter(other, point))) return front;
  return [...front.filter((other) => !isBetter(point, other)), point];
}
