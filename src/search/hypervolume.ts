/**
 * The area (two objectives) or volume (three) that the points dominate, up to a reference point; all objectives are
 * minimized. Points that are not better than the reference in every objective add nothing; dominated ones may be among them.
 * Exact. O(n log n) for two objectives, O(n^2 log n) for three.
 *
 * @param points - n points of as many numbers as the reference
 * @throws RangeError for fewer than two or more than three objectives
 * @see Zitzler & Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the Strength Pareto
 * Approach", IEEE TEC 1999; Fonseca et al., "An Improved Dimension-Sweep Algorithm for the Hypervolume Indicator", CEC 2006
 */
export function hypervolume(points: readonly (readonly number[])[], reference: readonly number[]): number {
  const within = points.filter((point) => reference.every((limit, m) => (point[m] ?? Infinity) < limit));
  const [x = 0, y = 0, z = 0] = reference;
  switch (reference.length) {
    case 2:
      return area(within, x, y);
    case 3:
      return volume(within, [x, y, z]);
    default:
      throw new RangeError(`hypervolume of 2 or 3 objectives, got ${reference.length}`);
  }
}

/** By rising first objective, each point adds the strip by which its second one is lower than any before. */
function area(points: readonly (readonly number[])[], x: number, y: number): number {
  const sorted = points.toSorted(([ax = 0, ay = 0], [bx = 0, by = 0]) => ax - bx || ay - by);
  let sum = 0;
  let lowest = y;
  for (const [px = 0, py = 0] of sorted) {
    if (py >= lowest) continue;
    sum += (x - px) * (lowest - py);
    lowest = py;
  }
  return sum;
}

/** By rising third objective, slices: the area of the points so far, times the height up to the next point. */
function volume(points: readonly (readonly number[])[], [x, y, z]: readonly [number, number, number]): number {
  const sorted = points.toSorted(([, , az = 0], [, , bz = 0]) => az - bz);
  let sum = 0;
  sorted.forEach(([, , from = 0], k) => {
    const to = sorted[k + 1]?.[2] ?? z;
    if (to > from) sum += area(sorted.slice(0, k + 1), x, y) * (to - from);
  });
  return sum;
}
