import type { SeededRandom } from '../data/seeded-random.ts';
import type { Coordinates, SearchSpace } from './space.ts';

/** Standard deviation of a step along an ordered dimension, as a share of its range. */
const STEP_SHARE = 0.15;

/**
 * Another coordinate of dimension `d`: for values without order any other, evenly; for ordered ones a value near by (steps
 * are normal with 15 % of the range as standard deviation, and at least to the next value). The same when there is no other.
 */
export function neighbour(space: SearchSpace, d: number, from: number, rng: SeededRandom): number {
  const count = space.count(d);
  if (count === Infinity) return reflected(from + STEP_SHARE * rng.normal(), 1);
  if (count < 2) return from;
  if (!space.ordered(d)) {
    const other = Math.floor(rng.uniform() * (count - 1));
    return other < from ? other : other + 1;
  }
  const step = STEP_SHARE * count * rng.normal();
  const to = reflected(from + Math.sign(step) * Math.max(1, Math.round(Math.abs(step))), count - 1);
  // A reflection can end where it began.
  return to !== from ? to : from > 0 ? from - 1 : from + 1;
}

/** `x` mirrored at 0 and `max` as often as it takes to lie between them. */
function reflected(x: number, max: number): number {
  const period = 2 * max;
  const within = ((x % period) + period) % period;
  return within > max ? period - within : within;
}

/** A copy with one dimension, of those that have a choice, moved to a neighbour. */
export function mutateOne(space: SearchSpace, from: Coordinates, rng: SeededRandom): Coordinates {
  const free = from.flatMap((_, d) => (space.count(d) > 1 ? [d] : []));
  const d = free[Math.floor(rng.uniform() * free.length)];
  if (d === undefined) return from;
  return from.with(d, neighbour(space, d, from[d] ?? 0, rng));
}

/** Each coordinate from either parent, evenly. */
export function uniformCrossover(a: Coordinates, b: Coordinates, rng: SeededRandom): Coordinates {
  return a.map((coordinate, d) => (rng.uniform() < 0.5 ? coordinate : (b[d] ?? coordinate)));
}
