/**
 * Gives each component of a product equal norm on both sides: neither factor is large where the other is small, so that
 * both train at one learning rate and quantize on one grid. The product stays the same.
 *
 * @param factors - `first` [rank, inner], `second` [outputs, rank]; changed in place
 */
export function balance<Factors extends { readonly first: Float64Array; readonly second: Float64Array }>(
  factors: Factors,
  { rank, inner, outputs }: { readonly rank: number; readonly inner: number; readonly outputs: number },
): Factors {
  const { first, second } = factors;
  for (let r = 0; r < rank; r += 1) {
    let [a, b] = [0, 0];
    for (let j = 0; j < inner; j += 1) a += (first[r * inner + j] ?? 0) ** 2;
    for (let i = 0; i < outputs; i += 1) b += (second[i * rank + r] ?? 0) ** 2;
    if (a === 0 || b === 0) continue;
    const scale = (b / a) ** 0.25;
    for (let j = 0; j < inner; j += 1) first[r * inner + j] = (first[r * inner + j] ?? 0) * scale;
    for (let i = 0; i < outputs; i += 1) second[i * rank + r] = (second[i * rank + r] ?? 0) / scale;
  }
  return factors;
}
