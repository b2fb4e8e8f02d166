import type { ChannelGroup } from '../groups/channel-groups.ts';

export const SCOPES = ['local', 'global', 'isomorphic'] as const;
export type Scope = (typeof SCOPES)[number];

export interface ChoiceOptions {
  readonly scope: Scope;
  /** Kept channels of a group are a multiple of this, where it has as many. */
  readonly roundTo: number;
  /** Largest share of a group's channels that may go, 0..1. */
  readonly maxRatio: number;
}

/** Wider groups are tried at every few channels only; and then at whole vectors of ONNX Runtime's kernels. */
const MANY = 64;
const ALIGNED = 4;

/** Channels with their scores; undefined scores: the group stays whole. -Infinity: the channel is gone already. */
export interface ScoredGroup {
  readonly group: ChannelGroup;
  readonly scores: Float64Array | undefined;
  /** On the share that goes, with scope local; default 1. */
  readonly factor?: number;
}

/**
 * Chooses channels to remove at one ratio: nested choices, so a larger ratio removes what a smaller one does and more.
 * Ties go by group and index. Ranks are made once, a choice is O(channels).
 */
export class ChannelChooser {
  readonly #groups: readonly ScoredGroup[];
  readonly #options: ChoiceOptions;
  /** Channels of each group, least important first. */
  readonly #orders: readonly (readonly number[])[];
  /** Groups that are ranked with each other, and their channels, least important first. */
  readonly #pools: readonly { readonly groups: readonly number[]; readonly order: readonly number[] }[];

  constructor(groups: readonly ScoredGroup[], options: ChoiceOptions) {
    this.#groups = groups;
    this.#options = options;
    this.#orders = groups.map(({ group, scores }) =>
      [...group.roots.keys()].sort((a, b) => (scores?.[a] ?? 0) - (scores?.[b] ?? 0) || a - b),
    );
    this.#pools = this.#makePools();
  }

  #makePools() {
    const pools = new Map<string, number[]>();
    for (const [index, { group, scores }] of this.#groups.entries()) {
      if (scores === undefined) continue;
      const { scope } = this.#options;
      const key = scope === 'global' ? '' : scope === 'isomorphic' ? group.signature : String(index);
      const pool = pools.get(key);
      if (pool === undefined) pools.set(key, [index]);
      else pool.push(index);
    }
    return [...pools.values()].map((groups) => {
      const channels = groups.flatMap((index) =>
        (this.#orders[index] ?? []).map((channel) => ({ index, score: this.#groups[index]?.scores?.[channel] ?? 0 })),
      );
      channels.sort((a, b) => a.score - b.score || a.index - b.index);
      return { groups, order: channels.map(({ index }) => index) };
    });
  }

  /**
   * How many channels of each group stay when `ratio` of all go, as far as limits and rounding allow.
   *
   * @param widths - by group, ascending, none above what is left: the counts it may have; then the nearest of them is taken, the
   *   larger one of two as near
   */
  keptCounts(ratio: number, widths?: readonly (readonly number[])[]): number[] {
    const kept = this.#groups.map(({ group }) => group.roots.length);
    for (const { groups, order } of this.#pools) {
      const factor = (groups.length === 1 ? this.#groups[groups[0] ?? 0]?.factor : undefined) ?? 1;
      let left = Math.floor(order.length * Math.min(1, ratio * factor) + 1e-9);
      for (const index of order) {
        if (left === 0) break;
        if ((kept[index] ?? 0) <= this.leastKept(index)) continue;
        kept[index] = (kept[index] ?? 0) - 1;
        left -= 1;
      }
      for (const index of groups) {
        const own = widths?.[index];
        kept[index] =
          own === undefined
            ? Math.min(this.left(index), this.#rounded(index, kept[index] ?? 0))
            : nearest(own, kept[index] ?? 0);
      }
    }
    return kept;
  }

  /** Indices of the channels that go when so many of each group stay, by group, ascending. */
  removed(kept: readonly number[]): number[][] {
    return this.#orders.map((order, index) => order.slice(0, order.length - (kept[index] ?? 0)).sort((a, b) => a - b));
  }

  /** Groups by the score of the next channel that they would get back, the most important first. */
  byMarginalScore(kept: readonly number[]): number[] {
    const marginal = this.#groups.map(({ scores }, index) => {
      const order = this.#orders[index] ?? [];
      return scores?.[order[order.length - (kept[index] ?? 0) - 1] ?? -1] ?? 0;
    });
    return [...marginal.keys()].sort((a, b) => (marginal[b] ?? 0) - (marginal[a] ?? 0) || a - b);
  }

  /** Channels that are not gone. */
  left(index: number): number {
    const { group, scores } = this.#groups[index] ?? {};
    return scores?.reduce((sum, score) => sum + (score === -Infinity ? 0 : 1), 0) ?? group?.roots.length ?? 0;
  }

  /** The counts that limits and rounding allow a group, ascending: all that is left, and no more than some 64 others. */
  widths(index: number): number[] {
    const { group, scores } = this.#groups[index] ?? {};
    const size = group?.roots.length ?? 0;
    const left = this.left(index);
    if (scores === undefined) return [size];
    const { roundTo } = this.#options;
    const step = size <= MANY ? roundTo : multipleOf(roundTo, Math.ceil(size / MANY / ALIGNED) * ALIGNED);
    const widths: number[] = [];
    for (let width = step; width < left; width += step) if (width >= this.leastKept(index)) widths.push(width);
    return [...widths, left];
  }

  leastKept(index: number): number {
    const size = this.#groups[index]?.group.roots.length ?? 1;
    return Math.max(1, size - Math.floor(size * this.#options.maxRatio + 1e-9));
  }

  /** Down to a multiple; up where that would keep too few. */
  #rounded(index: number, kept: number): number {
    const size = this.#groups[index]?.group.roots.length ?? 1;
    const { roundTo } = this.#options;
    if (kept === size) return size;
    const down = kept - (kept % roundTo);
    return down >= this.leastKept(index) ? down : Math.min(size, down + roundTo);
  }
}

function nearest(widths: readonly number[], wanted: number): number {
  let best = widths[0] ?? wanted;
  for (const width of widths) if (Math.abs(width - wanted) <= Math.abs(best - wanted)) best = width;
  return best;
}

/** The smallest multiple of `of` that is `atLeast` as large. */
function multipleOf(of: number, atLeast: number): number {
  return Math.ceil(atLeast / of) * of;
}
