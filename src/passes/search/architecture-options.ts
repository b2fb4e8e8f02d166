import { z } from 'zod';
import { TeacherField } from '../named-models.ts';
import { TrainingField } from '../../schemas/training.ts';
import type { Limits } from './goals.ts';
import { NetworkSpace } from './networks.ts';
import { BASELINE_PROXIES, PROXIES } from './proxy-scores.ts';
import { searchOptions } from './search-options.ts';
import { STRATEGY_NAMES } from './strategies.ts';

/** Strategies that train one network which holds all candidates, instead of each candidate. */
const SHARING_STRATEGIES = ['one-shot', 'darts'] as const;
type SharingStrategy = (typeof SHARING_STRATEGIES)[number];

const RecalibrationSamples = z.number().int().min(2).max(1_000_000).default(1024);

export const OneShotField = z
  .strictObject({
    wholeShare: z
      .number()
      .gt(0)
      .lt(1)
      .default(0.4)
      .describe(
        'Share of the epochs of `training` in which the largest network is trained alone; its parts have the rest',
      ),
    learningRateShare: z
      .number()
      .gt(0)
      .max(1)
      .default(0.3)
      .describe('Of the learning rate, while the parts are trained'),
    distillation: z
      .number()
      .min(0)
      .lt(1)
      .default(0.5)
      .describe('Share of the loss by which the parts learn from the largest network as it was trained alone; 0: none'),
    temperature: z.number().positive().max(100).default(1).describe('Divides the logits of both networks'),
    recalibrationSamples: RecalibrationSamples.describe(
      'Training samples on which the statistics of BatchNormalization are measured anew for each candidate',
    ),
    finalWeights: z
      .enum(['shared', 'fresh'])
      .default('shared')
      .describe('What `finalTraining` starts from: the weights that the candidates share, or new ones'),
  })
  .describe(
    'Strategy one-shot: the largest network of the space is trained, then its parts with it, and candidates are measured with its weights',
  );

export const DartsField = z
  .strictObject({
    strengthLearningRate: z
      .number()
      .positive()
      .max(10)
      .default(0.003)
      .describe('Of the strengths of the operations (adam)'),
    strengthWeightDecay: z.number().min(0).max(1).default(0.001).describe('Of the strengths, added to their gradient'),
    warmupShare: z
      .number()
      .min(0)
      .lt(1)
      .default(0.2)
      .describe(
        'Share of the epochs of `training` in which the weights alone are trained, all operations equally strong',
      ),
    skipDropout: z
      .number()
      .min(0)
      .lt(1)
      .default(0.3)
      .describe(
        'How often "skip" is taken out for a step, at first; falls to 0 over the run. Keeps it from winning before the others have learned',
      ),
    recalibrationSamples: RecalibrationSamples.describe(
      'Training samples on which the statistics of BatchNormalization are measured anew for the network that was chosen',
    ),
    finalWeights: z
      .enum(['fresh', 'mixed'])
      .default('fresh')
      .describe(
        'What `finalTraining` starts from: new weights, or those that the operations have learned side by side',
      ),
  })
  .describe(
    'Strategy darts: one network with all operations of each stage side by side; their strengths are learned on validation data, the strongest are kept',
  );

export const ArchitectureOptions = z
  .strictObject({
    space: NetworkSpace,
    ...searchOptions,
    strategy: z
      .enum([...STRATEGY_NAMES, ...SHARING_STRATEGIES])
      .default('evolution')
      .describe(
        'How the next candidates are chosen. one-shot: by evolution, each measured in seconds with weights that all share, instead of trained in a job of its own. darts: the strengths of the operations of each stage are learned with the weights, by gradients; trials, batch, objectives and keepFront say nothing there',
      ),
    training: TrainingField.prefault({ epochs: 3, learningRate: 0.1 }).describe(
      'How candidates are trained, to be compared; with one-shot the network that holds them all (20 epochs and more)',
    ),
    proxies: z
      .array(z.enum(PROXIES))
      .max(PROXIES.length)
      .default([])
      .describe(
        'Zero-cost scores of the candidates with fresh weights: the report says how well each of them, and parameters and MACs, order the trained candidates',
      ),
    proxy: z
      .enum(['training', ...BASELINE_PROXIES, ...PROXIES])
      .default('training')
      .describe(
        'What candidates are chosen by before they are measured. training: each is trained briefly. A zero-cost score, or parameters or macs: the strategy goes by that in the place of the accuracy, over `proxyCandidates` networks with fresh weights, and the `trials` best of them are trained',
      ),
    proxyCandidates: z
      .number()
      .int()
      .min(1)
      .max(20_000)
      .optional()
      .describe('With a `proxy`: networks that are scored; absent: eight for each of `trials`'),
    finalTraining: TrainingField.optional().describe(
      'Trains the winner anew, from fresh weights; absent: it stays as its trial left it',
    ),
    teach: z
      .boolean()
      .default(false)
      .describe("The job's model teaches the winner while it is trained finally (distill, 0.1 ce + 0.9 kd)"),
    teacher: TeacherField,
    oneShot: OneShotField.optional(),
    darts: DartsField.optional(),
  })
  .superRefine(checkSharing)
  .superRefine(checkTeacher)
  .superRefine(checkProxy);
export type ArchitectureOptions = z.infer<typeof ArchitectureOptions>;

export function isSharing(strategy: ArchitectureOptions['strategy']): strategy is SharingStrategy {
  return SHARING_STRATEGIES.some((name) => name === strategy);
}

/** The search trains and measures within its step: it asks for no trials. */
export function runsWithinStep(options: unknown): boolean {
  return z.looseObject({ strategy: z.enum(SHARING_STRATEGIES) }).safeParse(options).success;
}

interface Checked {
  readonly strategy: string;
  readonly space: NetworkSpace;
  readonly training: TrainingField;
  readonly constraints: Limits;
  readonly compareWithRandom: boolean;
  readonly evaluationSamples?: unknown;
  readonly reward?: unknown;
  readonly earlyStopping?: unknown;
  readonly oneShot?: unknown;
  readonly darts?: unknown;
}

type Refuse = (path: readonly string[], message: string) => void;

/** Options that say nothing where candidates are not trained one by one are refused, not passed over. */
function checkSharing(options: Checked, context: z.RefinementCtx): void {
  const refuse: Refuse = (path, message) => context.addIssue({ code: 'custom', path: [...path], message });
  if (options.oneShot !== undefined && options.strategy !== 'one-shot')
    refuse(['oneShot'], 'is for the strategy "one-shot"');
  if (options.darts !== undefined && options.strategy !== 'darts') refuse(['darts'], 'is for the strategy "darts"');
  if (options.strategy !== 'one-shot' && options.strategy !== 'darts') return;
  if (Array.isArray(options.space)) refuse(['space'], 'candidates of several families cannot share weights: name one');
  if (options.earlyStopping !== undefined)
    refuse(['earlyStopping'], 'there is no training of candidates that could be stopped: leave it out');
  const { batchNormalization, trainable, frozen } = options.training;
  if (batchNormalization === 'frozen') refuse(['training', 'batchNormalization'], 'must be "train"');
  if (trainable !== undefined) refuse(['training', 'trainable'], 'all of the network is trained: leave it out');
  if (frozen !== undefined) refuse(['training', 'frozen'], 'all of the network is trained: leave it out');
  if (options.strategy === 'darts') checkDarts(options, refuse);
}

/** What would teach nothing is refused, not passed over. */
function checkTeacher(
  {
    finalTraining,
    teach,
    teacher,
  }: { readonly finalTraining?: unknown; readonly teach: boolean; readonly teacher?: unknown },
  context: z.RefinementCtx,
): void {
  if (finalTraining !== undefined) return;
  const message = 'teaches while the winner is trained finally: give finalTraining ({} has defaults), or leave it out';
  if (teach) context.addIssue({ code: 'custom', path: ['teach'], message });
  if (teacher !== undefined) context.addIssue({ code: 'custom', path: ['teacher'], message });
}

/** A score stands in for the accuracy, in a search whose candidates are trained. */
function checkProxy(
  options: {
    readonly proxy: string;
    readonly proxyCandidates?: number | undefined;
    readonly trials: number;
    readonly strategy: ArchitectureOptions['strategy'];
    readonly objectives: readonly string[];
  },
  context: z.RefinementCtx,
): void {
  const refuse: Refuse = (path, message) => context.addIssue({ code: 'custom', path: [...path], message });
  const { proxy, proxyCandidates, trials, strategy, objectives } = options;
  if (proxy === 'training') {
    if (proxyCandidates !== undefined) refuse(['proxyCandidates'], 'is for a proxy other than "training"');
    return;
  }
  if (isSharing(strategy))
    refuse(['proxy'], `"${strategy}" measures candidates without training them one by one: leave it out`);
  if (objectives.includes('reward'))
    refuse(
      ['proxy'],
      'a score cannot stand for the accuracy in "reward": take accuracy and the other figure as objectives',
    );
  else if (!objectives.includes('accuracy'))
    refuse(['proxy'], 'stands in for the accuracy, which is none of the objectives: leave it out');
  if (proxyCandidates !== undefined && proxyCandidates < trials)
    refuse(['proxyCandidates'], `must be ${trials} (trials) or more: the best of them are trained`);
}

/** No candidate is measured there. */
function checkDarts(options: Checked, refuse: Refuse): void {
  if (options.reward !== undefined) refuse(['reward'], 'no candidates are measured with "darts": leave it out');
  if (options.evaluationSamples !== undefined)
    refuse(['evaluationSamples'], 'no candidates are measured with "darts": leave it out');
  if (options.compareWithRandom) refuse(['compareWithRandom'], 'no candidates are measured with "darts"');
  if (options.constraints.minAccuracy !== undefined)
    refuse(['constraints', 'minAccuracy'], 'no candidates are measured with "darts": leave it out');
  const { validation } = options.training;
  if ('role' in validation && validation.role === 'evaluation')
    refuse(
      ['training', 'validation'],
      'the strengths of operations would be learned on the data that judge the result',
    );
  if ('fraction' in validation && validation.fraction === 0)
    refuse(['training', 'validation'], 'the strengths of operations are learned on validation data: give a fraction');
}
