import { CompressionError } from '../../../errors.ts';
import { OutputComparison } from '../../output-comparison.ts';
import type { PassContext } from '../../pass.ts';
import { keptPositions } from '../recovery/kept-positions.ts';
import { recover } from '../recovery/recover.ts';
import type { ChannelOptions } from './options.ts';
import type { RemovalPlan } from './plan-removal.ts';
import type { SteppedPruning } from './stepped-pruning.ts';

/** Halvings of the interval of ratios: to within 1 % of the channels. */
const ROUNDS = 7;

export interface Trial<Plan> {
  readonly plan: Plan;
  /** Share of the samples classified right that is lost. */
  readonly accuracyDrop: number;
}

export interface StrongestPlan<Plan> {
  /** Undefined where no trial stayed within. */
  readonly best: (Trial<Plan> & { readonly ratio: number }) | undefined;
  readonly trials: readonly { readonly ratio: number; readonly accuracyDrop: number }[];
}

/**
 * The largest share of the channels whose removal, with all that repairs it, loses no more than `most`: by bisection, each trial
 * measured whole.
 */
export async function strongestWithin<Plan>(
  most: number,
  attempt: (ratio: number) => Promise<Trial<Plan>>,
  progress: (fraction: number) => void,
): Promise<StrongestPlan<Plan>> {
  let [low, high] = [0, 1];
  let best: StrongestPlan<Plan>['best'];
  const trials: { ratio: number; accuracyDrop: number }[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    progress(round / ROUNDS);
    const ratio = (low + high) / 2;
    const trial = await attempt(ratio);
    trials.push({ ratio, accuracyDrop: trial.accuracyDrop });
    if (trial.accuracyDrop <= most) {
      best = { ...trial, ratio };
      low = ratio;
    } else high = ratio;
  }
  return { best, trials };
}

/**
 * The strongest plan that stays within `maxAccuracyDrop` on the labelled calibration data, recovery included. Where none does, the
 * plan that removes nothing.
 *
 * @throws CompressionError PASS_PRECONDITION for data without class labels
 */
export async function planWithin(
  pruning: SteppedPruning,
  { maxAccuracyDrop = 0, recover: method }: ChannelOptions,
  context: PassContext,
): Promise<{ readonly plan: RemovalPlan; readonly details: Readonly<Record<string, unknown>> }> {
  const { calibration } = context.data;
  if (calibration === undefined) throw new CompressionError('INTERNAL', 'maxAccuracyDrop without calibration data');
  const planOf = await pruning.plans();
  const before = pruning.beforeLast();
  const comparison = await OutputComparison.create(before.model, calibration, context);
  comparison.requireAccuracy('maxAccuracyDrop', 'take another target');
  const quiet = { ...context, progress: () => undefined };
  const { best, trials } = await strongestWithin(
    maxAccuracyDrop,
    async (ratio) => {
      context.signal.throwIfAborted();
      const plan = planOf(ratio);
      if (plan.removed.every((channels) => channels.length === 0)) return { plan, accuracyDrop: 0 };
      const trial = pruning.without(plan.removedRoots);
      if (method !== 'none') {
        const from = { original: before.model, kept: keptPositions(before, plan.removedRoots) };
        await recover(method, trial, from, { feeds: calibration, context: quiet });
      }
      return { plan, accuracyDrop: (await comparison.compare(trial)).accuracyDrop };
    },
    (fraction) => context.progress(0.9 * fraction, 'looking for the strongest pruning within the accuracy'),
  );
  const details = {
    maxAccuracyDrop,
    samples: calibration.samples,
    ...(best === undefined ? {} : { ratio: best.ratio, measuredAccuracyDrop: best.accuracyDrop }),
    trials,
  };
  return { plan: best?.plan ?? planOf(0), details };
}
