const COEFFICIENTS = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
  0.17087277,
];

/**
 * Complementary error function; relative error below 1.2e-7.
 * @see Press et al., Numerical Recipes, section 6.2 (Chebyshev fit)
 */
export function erfc(x: number): number {
  const z = Math.abs(x);
  const t = 1 / (1 + 0.5 * z);
  let polynomial = 0;
  for (let i = COEFFICIENTS.length - 1; i >= 0; i -= 1) polynomial = polynomial * t + (COEFFICIENTS[i] ?? 0);
  const value = t * Math.exp(-z * z + polynomial);
  return x >= 0 ? value : 2 - value;
}
