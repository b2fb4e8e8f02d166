import { CompressionError } from '../../../errors.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import { groupName, type ChannelGroups } from '../groups/channel-groups.ts';
import { channelScores } from '../importance/channel-scores.ts';
import { ChannelCosts, type Costs } from './channel-costs.ts';
import { ChannelChooser, type ScoredGroup } from './choose-channels.ts';
import { targetOf, type ChannelOptions } from './options.ts';

export interface RemovalPlan {
  readonly groups: readonly ScoredGroup[];
  /** Indices of the channels that go, by group. */
  readonly removed: readonly (readonly number[])[];
  /** By root atom: 1 where the channel goes. */
  readonly removedRoots: Uint8Array;
  /** Share of the ranked channels that the choice asked for. */
  readonly ratio: number;
  readonly before: Costs;
  readonly expected: Costs;
}

/** Halvings of the interval of ratios: finer than one channel of a million. */
const BISECTIONS = 24;

/**
 * Scores all groups and chooses the channels to remove: the smallest ratio that meets a target of MACs or parameters.
 *
 * @throws CompressionError PASS_PRECONDITION when no choice meets the target, or the importance fits no group
 */
export function planRemoval(
  analysis: ChannelAnalysis,
  { groups, frozen }: ChannelGroups,
  options: ChannelOptions & { readonly seed: number },
): RemovalPlan {
  const scores = channelScores(analysis.model.graph, groups, options);
  const scored = groups.map((group, index) => ({ group, scores: scores[index] }));
  if (groups.length > 0 && scores.every((list) => list === undefined)) {
    throw new CompressionError(
      'PASS_PRECONDITION',
      `prune.channels: importance "${options.importance}" needs BatchNormalization with a scale behind the layers, and the model has none ` +
        'left; set foldBatchNormalization of canonicalize to false, add a training step to the recipe, or take another importance',
    );
  }
  const chooser = new ChannelChooser(scored, options);
  const costs = new ChannelCosts(analysis);
  const rootsOf = (ratio: number): Uint8Array => {
    const roots = new Uint8Array(analysis.atoms.count);
    chooser.removed(ratio).forEach((channels, index) => {
      for (const channel of channels) roots[groups[index]?.roots[channel] ?? 0] = 1;
    });
    return roots;
  };
  const target = targetOf(options);
  let ratio = target.kind === 'ratio' ? target.removed : 1;
  if (target.kind !== 'ratio' && groups.length > 0) {
    const limit = target.kept * costs.before[target.kind];
    const meets = (candidate: number): boolean => costs.without(rootsOf(candidate))[target.kind] <= limit;
    if (!meets(1)) {
      const reachable = costs.without(rootsOf(1))[target.kind] / costs.before[target.kind];
      const [first] = frozen;
      throw new CompressionError(
        'PASS_PRECONDITION',
        `prune.channels: ${target.option} ${target.kept} cannot be reached; the smallest share is ${reachable.toFixed(4)} with maxRatio ${options.maxRatio}, ` +
          `roundTo ${options.roundTo}, and ${groups.length} groups of channels that can be removed (${groups.slice(0, 3).map(groupName).join(', ')}, …)` +
          (first === undefined ? '' : `; ${frozen.length} layers keep all channels (${first.reason})`) +
          `. Take a larger ${target.option} or maxRatio, or exclude less`,
      );
    }
    let low = 0;
    for (let round = 0; round < BISECTIONS; round += 1) {
      const middle = (low + ratio) / 2;
      if (meets(middle)) ratio = middle;
      else low = middle;
    }
  }
  const removedRoots = rootsOf(ratio);
  return {
    groups: scored,
    removed: chooser.removed(ratio),
    removedRoots,
    ratio,
    before: costs.before,
    expected: costs.without(removedRoots),
  };
}
