/**
 * Marks the `count` lowest scores: exactly that many, of equal scores those with the lower index. O(n log n) at most, one
 * copy of the scores.
 *
 * @param scores - in the order of the ranking; several arrays are ranked as one, first to last
 * @param count - 0 to the number of scores
 * @returns for each array, 0 where the score is among the lowest and 1 elsewhere
 */
export function keepMasks(scores: readonly Float64Array[], count: number): Uint8Array[] {
  const masks = scores.map(({ length }) => new Uint8Array(length).fill(1));
  if (count <= 0) return masks;
  const total = scores.reduce((sum, { length }) => sum + length, 0);
  const sorted = new Float64Array(total);
  let at = 0;
  for (const part of scores) {
    sorted.set(part, at);
    at += part.length;
  }
  sorted.sort();
  const limit = sorted[Math.min(count, total) - 1] ?? 0;
  let below = 0;
  while (below < total && (sorted[below] ?? 0) < limit) below += 1;
  let ties = Math.min(count, total) - below;
  for (const [index, part] of scores.entries()) {
    const mask = masks[index];
    if (mask === undefined) continue;
    for (let i = 0; i < part.length; i += 1) {
      const score = part[i] ?? 0;
      if (score < limit) mask[i] = 0;
      else if (score === limit && ties > 0) {
        mask[i] = 0;
        ties -= 1;
      }
    }
  }
  return masks;
}
