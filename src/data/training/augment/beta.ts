import type { SeededRandom } from '../../seeded-random.ts';

/**
 * A draw from Beta(alpha, alpha).
 * @param alpha - above 0
 */
export function betaDraw(alpha: number, random: SeededRandom): number {
  const first = gammaDraw(alpha, random);
  const second = gammaDraw(alpha, random);
  // Both may underflow to 0 for a tiny alpha, where Beta is a fair coin.
  if (first + second === 0) return random.uniform() < 0.5 ? 0 : 1;
  return first / (first + second);
}

/** Gamma(shape, 1). @see Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", 2000 */
function gammaDraw(shape: number, random: SeededRandom): number {
  if (shape < 1) {
    const power = (1 - random.uniform()) ** (1 / shape);
    return power * gammaDraw(shape + 1, random);
  }
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.normal();
    const v = (1 + c * x) ** 3;
    if (v <= 0) continue;
    if (Math.log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}
