import { ranks } from './ranks.ts';

/**
 * Kendall's tau-b: how much more often two pairs of values agree in order than not, -1 to 1, corrected for ties. NaN when all
 * values of a side are alike. O(n^2).
 *
 * @throws RangeError when the sides have different lengths
 * @see Kendall, "The Treatment of Ties in Ranking Problems", Biometrika 1945
 */
export function kendallTau(x: ArrayLike<number>, y: ArrayLike<number>): number {
  checkLengths(x, y);
  let [agreement, untiedX, untiedY] = [0, 0, 0];
  for (let i = 0; i < x.length; i += 1) {
    for (let j = i + 1; j < x.length; j += 1) {
      const dx = Math.sign((x[i] ?? 0) - (x[j] ?? 0));
      const dy = Math.sign((y[i] ?? 0) - (y[j] ?? 0));
      agreement += dx * dy;
      untiedX += dx * dx;
      untiedY += dy * dy;
    }
  }
  return agreement / Math.sqrt(untiedX * untiedY);
}

/**
 * Spearman's rho: the correlation of the ranks, ties at their mean rank. NaN when all values of a side are alike.
 * @throws RangeError when the sides have different lengths
 */
export function spearman(x: ArrayLike<number>, y: ArrayLike<number>): number {
  checkLengths(x, y);
  const [a, b] = [ranks(x), ranks(y)];
  const mean = (x.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    const dx = (a[i] ?? 0) - mean;
    const dy = (b[i] ?? 0) - mean;
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xy / Math.sqrt(xx * yy);
}

function checkLengths(x: ArrayLike<number>, y: ArrayLike<number>): void {
  if (x.length !== y.length) throw new RangeError(`rank correlation of ${x.length} with ${y.length} values`);
}
