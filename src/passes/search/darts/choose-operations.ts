/** Operations of all places, the most probable ones first. */
interface Combination {
  /** Rank of the chosen operation at each place, 0 the most probable. */
  readonly ranks: readonly number[];
  readonly logProbability: number;
}

export interface Choice {
  /** Number of the operation for each place. */
  readonly operations: readonly number[];
  /** More probable combinations that were refused. */
  readonly refused: number;
}

/** Combinations that are looked at before the search for one within the limits is given up. */
const MAX_COMBINATIONS = 10_000;

/**
 * The combination of operations with the largest product of probabilities that is accepted: the largest alpha of each place
 * where nothing is in the way. Goes through the combinations in falling order. O(combinations * places).
 *
 * @param probabilities - of the operations, by place
 * @returns undefined when none of the first 10,000 is accepted
 */
export function chooseOperations(
  probabilities: readonly (readonly number[])[],
  accepts: (operations: readonly number[]) => boolean,
): Choice | undefined {
  const orders = probabilities.map((place) =>
    [...place.keys()].sort((a, b) => (place[b] ?? 0) - (place[a] ?? 0) || a - b),
  );
  const at = (ranks: readonly number[]): Combination => ({
    ranks,
    logProbability: ranks.reduce(
      (sum, rank, place) => sum + Math.log(probabilities[place]?.[orders[place]?.[rank] ?? 0] ?? 0),
      0,
    ),
  });
  const open = [at(probabilities.map(() => 0))];
  const seen = new Set([open[0]?.ranks.join() ?? '']);
  for (let refused = 0; refused < MAX_COMBINATIONS; refused += 1) {
    const next = takeMostProbable(open);
    if (next === undefined) return undefined;
    const operations = next.ranks.map((rank, place) => orders[place]?.[rank] ?? 0);
    if (accepts(operations)) return { operations, refused };
    for (const [place, rank] of next.ranks.entries()) {
      if (rank + 1 >= (orders[place]?.length ?? 0)) continue;
      const ranks = next.ranks.with(place, rank + 1);
      if (seen.has(ranks.join())) continue;
      seen.add(ranks.join());
      open.push(at(ranks));
    }
  }
  return undefined;
}

function takeMostProbable(open: Combination[]): Combination | undefined {
  let best = 0;
  for (const [index, { logProbability }] of open.entries())
    if (logProbability > (open[best]?.logProbability ?? -Infinity)) best = index;
  return open.splice(best, 1)[0];
}
