import { z } from 'zod';
import { TrainingField } from '../../../schemas/training.ts';
import { readsGradients } from '../importance/gradient-scores.ts';
import { IMPORTANCES } from '../importance/group-scores.ts';
import { RECOVERIES } from '../recovery/recover.ts';
import type { Costs } from './channel-costs.ts';
import { SCOPES } from './choose-channels.ts';

/** Targets of which at most one may be given. */
const TARGETS = [
  'ratio',
  'macsRatio',
  'parametersRatio',
  'bytesRatio',
  'maxBytes',
  'latencyRatio',
  'maxAccuracyDrop',
] as const;
const globs = z.array(z.string().min(1)).max(1000);
const share = z
  .number()
  .gt(0)
  .lt(1, { error: 'must be less than 1: of a ratio all channels would go, of a share that is kept none' });

/** Half of the work, where no target is named. */
const DEFAULT_MACS_RATIO = 0.5;

export const ChannelOptions = z
  .strictObject({
    importance: z
      .enum(IMPORTANCES)
      .default('l2')
      .describe(
        'Score of a channel over all weights that go with it: l1, l2 (sum of squares), bn-scale (|gamma| of BatchNormalization), fpgm (distance to the other filters), taylor and hessian (what the loss loses, by gradients on the training data), lamp (l2 over the larger ones), activation (mean on the calibration data), random',
      ),
    batches: z
      .int()
      .min(1)
      .max(10_000)
      .default(16)
      .describe(
        'Batches of training data that taylor and hessian take gradients of; hessian takes their samples one by one',
      ),
    steps: z
      .int()
      .min(1)
      .max(100)
      .default(1)
      .describe('Goes to the target in so many equal steps, with the importance computed anew for each'),
    training: TrainingField.optional().describe(
      'Trains between the steps (epochs are those after one step); also batch size and loss of taylor and hessian',
    ),
    trainAfterLast: z
      .boolean()
      .default(false)
      .describe('Trains after the last step too; by default that is left to the next step of the recipe'),
    ratio: share.optional().describe('Share of the channels that is removed; at most one target is given'),
    macsRatio: share
      .optional()
      .describe('Share of the multiply-accumulates that is kept, at most; default 0.5 where no target is given'),
    parametersRatio: share.optional().describe('Share of the parameters that is kept, at most'),
    bytesRatio: share.optional().describe('Share of the bytes of the file that is kept, at most'),
    maxBytes: z.int().min(1).optional().describe('Bytes of the file that are kept, at most'),
    latencyRatio: share
      .optional()
      .describe(
        'Share of the time of one sample that is kept, at most, as the kernel cost table estimates it (in float or int8: see speed)',
      ),
    maxAccuracyDrop: share
      .optional()
      .describe(
        'Removes as many channels as cost no more than this share of top-1, measured on the labelled calibration data after the recovery',
      ),
    allocation: z
      .enum(['score', 'sensitivity'])
      .default('score')
      .describe(
        'How ratios of groups are found: by ranking the scores of all channels, or by what the model loses, measured on the calibration data with each group cut alone to a few widths',
      ),
    sensitivity: z
      .enum(['output', 'kl', 'metric'])
      .default('output')
      .describe(
        'The loss that allocation "sensitivity" measures: squared error of the outputs over their square; kl, how far the probabilities of the classes move; or top-1 on labelled calibration data (ties by the error)',
      ),
    speed: z
      .enum(['check', 'check-float', 'check-int8', 'ignore'])
      .default('check')
      .describe(
        'check: groups get numbers of channels that pay by the kernel cost table (none is slower than a larger number), and nothing is removed where the result would be slower than the input; by times in int8 where a later step of the recipe brings the model there, else in float. check-float, check-int8: by these times. ignore: widths are taken as they come, times are in float',
      ),
    scope: z
      .enum(SCOPES)
      .default('global')
      .describe(
        'What channels are ranked with: local (the same share of every group), global (all, by normalized scores), isomorphic (those of groups of the same kind)',
      ),
    factors: z
      .record(z.string().min(1), z.number().min(0).max(16))
      .optional()
      .describe(
        'Glob of node names to a factor on the share of channels that goes: 0 none, 2 twice as much as others. With scope local',
      ),
    roundTo: z.int().min(1).max(1024).default(1).describe('Kept channels of a group are a multiple of this number'),
    maxRatio: share.default(0.9).describe('Largest share of one group that may be removed; one channel always stays'),
    recover: z
      .enum(RECOVERIES)
      .default('none')
      .describe(
        'Recovery without training, on calibration data: bn-statistics (statistics of BatchNormalization measured anew; without any, outputs of layers matched to the original by channel), least-squares (the weights behind a cut fitted to the outputs of the original), none',
      ),
    restoreBatchNormalization: z
      .boolean()
      .default(false)
      .describe(
        'Puts BatchNormalization back behind convolutions with a bias before channels are chosen, from statistics measured on the calibration data: the function stays the same, a model whose normalization was folded is pruned and trained as one with it',
      ),
    include: globs
      .optional()
      .describe('Globs of node names or operator types: only these layers lose output channels. Default: all'),
    exclude: globs.default([]).describe('Globs of node names or operator types: these layers keep all output channels'),
  })
  .superRefine((options, context) => {
    const { steps, training, trainAfterLast, importance } = options;
    if (trainAfterLast && training === undefined) {
      context.addIssue({
        code: 'custom',
        path: ['training'],
        message: 'trainAfterLast needs training; {} has defaults',
      });
    }
    if (training !== undefined && steps === 1 && !trainAfterLast && !readsGradients(importance)) {
      const message = 'one step alone does not train; give steps or trainAfterLast, or a train.finetune step behind';
      context.addIssue({ code: 'custom', path: ['training'], message });
    }
    if (options.maxAccuracyDrop !== undefined && (steps > 1 || trainAfterLast)) {
      const message = 'maxAccuracyDrop is found in one step without training; let train.finetune follow';
      context.addIssue({ code: 'custom', path: ['maxAccuracyDrop'], message });
    }
    if (options.allocation === 'sensitivity' && options.scope !== 'global') {
      const message = `sensitivity ranks the channels of all groups: it goes with scope "global", got "${options.scope}"`;
      context.addIssue({ code: 'custom', path: ['scope'], message });
    }
    if (options.factors !== undefined && options.scope !== 'local') {
      const message = `factors change the share of each group: they go with scope "local", got "${options.scope}"`;
      context.addIssue({ code: 'custom', path: ['scope'], message });
    }
    const given = TARGETS.filter((name) => options[name] !== undefined);
    if (given.length < 2) return;
    for (const name of given) {
      context.addIssue({ code: 'custom', path: [name], message: `give one target only, got ${given.join(' and ')}` });
    }
  });
export type ChannelOptions = z.output<typeof ChannelOptions>;

export type Target =
  | { readonly kind: 'ratio'; readonly removed: number }
  | { readonly kind: keyof Costs; readonly option: TargetOption; readonly kept: number }
  /** An absolute limit. */
  | { readonly kind: keyof Costs; readonly option: TargetOption; readonly limit: number };
type TargetOption = Exclude<(typeof TARGETS)[number], 'ratio' | 'maxAccuracyDrop'>;

const KINDS = {
  macsRatio: 'macs',
  parametersRatio: 'parameters',
  bytesRatio: 'bytes',
  latencyRatio: 'latencyNs',
} as const satisfies Partial<Record<TargetOption, keyof Costs>>;

/** What is counted; for maxAccuracyDrop, whose ratio is found by trials, MACs. */
export function targetOf(options: ChannelOptions): Target {
  const { ratio, maxBytes } = options;
  if (ratio !== undefined) return { kind: 'ratio', removed: ratio };
  if (maxBytes !== undefined) return { kind: 'bytes', option: 'maxBytes', limit: maxBytes };
  for (const option of ['parametersRatio', 'bytesRatio', 'latencyRatio'] as const) {
    const kept = options[option];
    if (kept !== undefined) return { kind: KINDS[option], option, kept };
  }
  return { kind: 'macs', option: 'macsRatio', kept: options.macsRatio ?? DEFAULT_MACS_RATIO };
}

/** The training between the steps, where there is one. */
export function trainingOf({ steps, training, trainAfterLast }: ChannelOptions): TrainingField | undefined {
  return steps > 1 || trainAfterLast ? training : undefined;
}
