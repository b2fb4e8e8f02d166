import { CompressionError } from '../../../errors.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import { groupName, type ChannelGroups } from '../groups/channel-groups.ts';
import { ChannelCosts, type Costs } from './channel-costs.ts';
import { ChannelChooser, type ScoredGroup } from './choose-channels.ts';
import { partOf, targetOf, type ChannelOptions } from './options.ts';

export interface RemovalPlan {
  readonly groups: readonly ScoredGroup[];
  /** Indices of the channels that go, by group. */
  readonly removed: readonly (readonly number[])[];
  /** By root atom: 1 where the channel goes. */
  readonly removedRoots: Uint8Array;
  readonly before: Costs;
  readonly expected: Costs;
}

interface ScoresOfStep {
  readonly scores: readonly (Float64Array | undefined)[];
  readonly part?: number;
}

/** Halvings of the interval of ratios: finer than one channel of a million. */
const BISECTIONS = 24;

/**
 * Chooses the channels to remove: the smallest ratio that meets a target of MACs or parameters.
 *
 * @param options.scores - by group; -Infinity for channels that earlier steps removed
 * @param options.part - of the way to the target, 0..1; default all of it
 * @throws CompressionError PASS_PRECONDITION when no choice meets the target
 */
export function planRemoval(
  analysis: ChannelAnalysis,
  { groups, frozen }: ChannelGroups,
  { scores, part = 1, ...options }: ChannelOptions & ScoresOfStep,
): RemovalPlan {
  const scored = groups.map((group, index) => ({ group, scores: scores[index] }));
  const chooser = new ChannelChooser(scored, options);
  const costs = new ChannelCosts(analysis);
  const rootsOf = (kept: readonly number[]): Uint8Array => {
    const roots = new Uint8Array(analysis.atoms.count);
    chooser.removed(kept).forEach((channels, index) => {
      for (const channel of channels) roots[groups[index]?.roots[channel] ?? 0] = 1;
    });
    return roots;
  };
  const target = partOf(targetOf(options), part);
  let kept: readonly number[] = chooser.keptCounts(target.kind === 'ratio' ? target.removed : 1);
  if (target.kind !== 'ratio' && groups.length > 0) {
    const limit = target.kept * costs.before[target.kind];
    const meets = (counts: readonly number[]): boolean => costs.without(rootsOf(counts))[target.kind] <= limit;
    if (!meets(kept)) {
      const reachable = costs.without(rootsOf(kept))[target.kind] / costs.before[target.kind];
      throw unreachable({ groups, frozen }, options, { option: target.option, kept: target.kept, reachable });
    }
    kept = keptWithin(chooser, meets);
  }
  const removedRoots = rootsOf(kept);
  return {
    groups: scored,
    removed: chooser.removed(kept),
    removedRoots,
    before: costs.before,
    expected: costs.without(removedRoots),
  };
}

/** Bisects for the smallest ratio that meets the target, then gives channels back one group at a time where it still does. */
function keptWithin(chooser: ChannelChooser, meets: (kept: readonly number[]) => boolean): readonly number[] {
  let [low, high] = [0, 1];
  for (let round = 0; round < BISECTIONS; round += 1) {
    const middle = (low + high) / 2;
    if (meets(chooser.keptCounts(middle))) high = middle;
    else low = middle;
  }
  // Groups of equal size lose their next channel at the same ratio, which can be far more than the target asks.
  let kept: readonly number[] = chooser.keptCounts(high);
  const more = chooser.keptCounts(low);
  for (const index of chooser.byMarginalScore(kept)) {
    const given = kept.with(index, more[index] ?? 0);
    if (given[index] !== kept[index] && meets(given)) kept = given;
  }
  return kept;
}

function unreachable(
  { groups, frozen }: ChannelGroups,
  { maxRatio, roundTo }: ChannelOptions,
  target: { readonly option: string; readonly kept: number; readonly reachable: number },
): CompressionError {
  const [first] = frozen;
  return new CompressionError(
    'PASS_PRECONDITION',
    `prune.channels: ${target.option} ${target.kept} cannot be reached; the smallest share is ${target.reachable.toFixed(4)} with maxRatio ${maxRatio}, ` +
      `roundTo ${roundTo}, and ${groups.length} groups of channels that can be removed (${groups.slice(0, 3).map(groupName).join(', ')}, …)` +
      (first === undefined ? '' : `; ${frozen.length} layers keep all channels (${first.reason})`) +
      `. Take a larger ${target.option} or maxRatio, or exclude less`,
  );
}
