import { CompressionError, defined } from '../../../errors.ts';
import { TrainingField } from '../../../schemas/training.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext } from '../../pass.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import type { ChannelGroup } from '../groups/channel-groups.ts';
import { activationScores } from './activation-scores.ts';
import { channelScores } from './channel-scores.ts';
import { gradientScores, readsGradients } from './gradient-scores.ts';

export const IMPORTANCES = [
  'l1',
  'l2',
  'bn-scale',
  'fpgm',
  'taylor',
  'hessian',
  'lamp',
  'activation',
  'random',
] as const;
type Importance = (typeof IMPORTANCES)[number];

export interface ScoreOptions {
  readonly importance: Importance;
  /** Batches that `taylor` and `hessian` take gradients of. */
  readonly batches: number;
  /** Loss and batch size of these. */
  readonly training?: TrainingField | undefined;
}

/**
 * Scores of all channels by any importance, for a global ranking; undefined for a group that the importance says nothing about.
 *
 * @throws CompressionError PASS_PRECONDITION when it says nothing about any; what gradients and data throw
 */
export async function groupScores(
  analysis: ChannelAnalysis,
  groups: readonly ChannelGroup[],
  { importance, batches, training = TrainingField.parse({}) }: ScoreOptions,
  context: PassContext,
): Promise<readonly (Float64Array | undefined)[]> {
  const { model } = analysis;
  if (groups.length === 0) return [];
  if (importance === 'activation') {
    return activationScores(analysis, groups, defined(context.observations, 'what prune.channels asked to observe'));
  }
  if (readsGradients(importance)) {
    const from = { probe: { training, batches }, context: finetuneContext(context) };
    return gradientScores(importance, model, groups, from);
  }
  const scores = channelScores(model.graph, groups, { importance, seed: context.seed });
  if (importance === 'bn-scale' && scores.every((list) => list === undefined)) {
    throw new CompressionError(
      'PASS_PRECONDITION',
      `prune.channels: importance "${importance}" needs BatchNormalization with a scale behind the layers, and the model has none ` +
        'left; set foldBatchNormalization of canonicalize to false, add a training step to the recipe, set restoreBatchNormalization where the file came folded, or take another importance',
    );
  }
  return scores;
}
