import type { SeededRandom } from '../data/seeded-random.ts';

/** Parents nearer than this are the same. */
const SAME = 1e-14;

/**
 * Simulated binary crossover of two numbers in [0, 1], within these bounds: children lie around their parents as those of a
 * one-point crossover of bits would. Which child comes first is drawn.
 *
 * @param index - eta_c >= 0; larger = nearer to the parents
 * @see Deb & Agrawal, "Simulated Binary Crossover for Continuous Search Space", 1995; bounds as in Deb's NSGA-II code
 */
export function simulatedBinaryCrossover(
  [a, b]: readonly [number, number],
  index: number,
  rng: SeededRandom,
): readonly [number, number] {
  if (Math.abs(a - b) < SAME) return [a, b];
  const [low, high] = a < b ? [a, b] : [b, a];
  const u = rng.uniform();
  const middle = (low + high) / 2;
  const half = (high - low) / 2;
  const below = clamped(middle - half * spread(low / half, u, index));
  const above = clamped(middle + half * spread((1 - high) / half, u, index));
  return rng.uniform() < 0.5 ? [below, above] : [above, below];
}

/** How far a child is from the middle, in half distances of the parents. @param room - from parent to bound, in the same unit */
function spread(room: number, u: number, index: number): number {
  const alpha = 2 - (1 + room) ** -(index + 1);
  const exponent = 1 / (index + 1);
  return u <= 1 / alpha ? (u * alpha) ** exponent : (1 / (2 - u * alpha)) ** exponent;
}

/**
 * Polynomial mutation of a number in [0, 1], within these bounds.
 * @param index - eta_m >= 0; larger = smaller steps
 * @see Deb & Goyal, "A Combined Genetic Adaptive Search (GeneAS) for Engineering Design", 1996
 */
export function polynomialMutation(x: number, index: number, rng: SeededRandom): number {
  const u = rng.uniform();
  const exponent = 1 / (index + 1);
  if (u < 0.5) {
    const value = 2 * u + (1 - 2 * u) * (1 - x) ** (index + 1);
    return clamped(x + value ** exponent - 1);
  }
  const value = 2 * (1 - u) + (2 * u - 1) * x ** (index + 1);
  return clamped(x + 1 - value ** exponent);
}

function clamped(x: number): number {
  return Math.min(1, Math.max(0, x));
}
