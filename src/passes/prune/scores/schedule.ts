/**
 * Sparsity on its way from `initial` to `final` along a cubic curve: fast at first, slow near the end.
 *
 * @param progress - 0 at the first pruning, 1 at the last; outside of that the ends
 * @see Zhu & Gupta, "To prune, or not to prune", 2017, eq. 1
 */
export function cubicSparsity(initial: number, final: number, progress: number): number {
  const at = Math.min(1, Math.max(0, progress));
  return final + (initial - final) * (1 - at) ** 3;
}
