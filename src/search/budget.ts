import type { Coordinates } from './space.ts';

/** A limit on a sum over the dimensions of a space. */
export interface SumLimit {
  readonly limit: number;
  /** By dimension what each of its coordinates adds; undefined for a dimension that adds nothing. */
  readonly costs: readonly (readonly number[] | undefined)[];
}

/**
 * Hard limits that can be counted without a trial, of points with a choice for each layer; how a point comes within them.
 *
 * @see Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019, section 3.2, for the walk
 * down; He et al., "AMC: AutoML for Model Compression and Acceleration on Mobile Devices", ECCV 2018, algorithm 1, for the bound
 */
export class Budget {
  /** By dimension what an agent sees of the layer; undefined for a dimension that is none. As many numbers for each. */
  readonly features: readonly (readonly number[] | undefined)[];
  readonly #limits: readonly SumLimit[];
  /** By limit, for each dimension the least that it and those behind it add. */
  readonly #least: readonly (readonly number[])[];
  /** By dimension: what coordinates cost, of each limit the share of the most expensive point. */
  readonly #shares: readonly (readonly number[] | undefined)[];

  constructor(limits: readonly SumLimit[], features: readonly (readonly number[] | undefined)[]) {
    this.features = features;
    this.#limits = limits;
    this.#least = limits.map(({ costs }) => {
      const sums = [0];
      for (const row of costs.toReversed()) sums.unshift((sums[0] ?? 0) + (row === undefined ? 0 : Math.min(...row)));
      return sums;
    });
    const most = limits.map(({ costs }) =>
      Math.max(
        1e-12,
        costs.reduce((sum, row) => sum + Math.max(0, ...(row ?? [])), 0),
      ),
    );
    this.#shares = features.map((_, d) => {
      const rows = limits.map(({ costs }) => costs[d]);
      const [first] = rows.filter((row) => row !== undefined);
      return first?.map((__, at) => rows.reduce((sum, row, k) => sum + (row?.[at] ?? 0) / (most[k] ?? 1), 0));
    });
  }

  isWithin(coordinates: Coordinates): boolean {
    return this.#limits.every(({ limit, costs }) => sumOf(costs, coordinates) <= limit);
  }

  /**
   * Layer by layer, in order, the next cheaper choice, round after round, until the limits hold. The point itself where they do;
   * the cheapest one where they cannot.
   */
  walkDown(coordinates: Coordinates): Coordinates {
    const walked = [...coordinates];
    for (let moved = true; moved;) {
      moved = false;
      for (const [d, shares] of this.#shares.entries()) {
        if (this.isWithin(walked)) return walked;
        const next = nextCheaper(shares, walked[d] ?? 0);
        if (next === undefined) continue;
        walked[d] = next;
        moved = true;
      }
    }
    return walked;
  }

  /**
   * Coordinates of dimension `d` that leave the layers behind it a way within the limits; the cheapest alone where none does.
   *
   * @param before - coordinates of the dimensions ahead of it
   */
  affordable(d: number, before: Coordinates): readonly boolean[] {
    const shares = this.#shares[d] ?? [];
    const spent = this.#limits.map(({ costs }) => sumOf(costs, before));
    const fits = shares.map((_, at) =>
      this.#limits.every(
        ({ limit, costs }, k) => (spent[k] ?? 0) + (costs[d]?.[at] ?? 0) + (this.#least[k]?.[d + 1] ?? 0) <= limit,
      ),
    );
    return fits.includes(true) ? fits : shares.map((share) => share === Math.min(...shares));
  }

  /** Of the tightest limit: the share that is left when layers ahead of `d` are chosen so and the others are the cheapest. */
  slack(d: number, before: Coordinates): number {
    return Math.min(
      ...this.#limits.map(
        ({ limit, costs }, k) => 1 - (sumOf(costs, before) + (this.#least[k]?.[d] ?? 0)) / Math.max(limit, 1e-12),
      ),
    );
  }

  /** What a choice costs between the cheapest (0) and the most expensive (1) of its dimension. */
  expense(d: number, at: number): number {
    const shares = this.#shares[d] ?? [0];
    const [low, high] = [Math.min(...shares), Math.max(...shares)];
    return high > low ? ((shares[at] ?? low) - low) / (high - low) : 0;
  }
}

/** Over the dimensions that have a coordinate. */
function sumOf(costs: SumLimit['costs'], coordinates: Coordinates): number {
  return coordinates.reduce((sum, at, d) => sum + (costs[d]?.[at] ?? 0), 0);
}

function nextCheaper(shares: readonly number[] | undefined, from: number): number | undefined {
  const own = shares?.[from] ?? -Infinity;
  let best: number | undefined;
  for (const [at, share] of (shares ?? []).entries())
    if (share < own && (best === undefined || share > (shares?.[best] ?? 0))) best = at;
  return best;
}
