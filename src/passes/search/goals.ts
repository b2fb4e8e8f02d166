import { z } from 'zod';
import { mnasnetReward, SOFT_REWARD } from '../../search/mnasnet-reward.ts';
import type { TrialResult } from '../../schemas/trial.ts';

const OBJECTIVES = ['accuracy', 'bytes', 'parameters', 'macs', 'bops', 'latencyEstimateMs', 'reward'] as const;
type MeasuredFigure = Exclude<ObjectiveName, 'reward'>;
const MEASURED = OBJECTIVES.filter((name): name is MeasuredFigure => name !== 'reward');
export type ObjectiveName = (typeof OBJECTIVES)[number];

/** A figure of a candidate that a search goes by. */
export type Figures = Partial<Record<ObjectiveName, number>> & { readonly metric?: string };

export const objectivesOption = z
  .array(z.enum(OBJECTIVES))
  .min(1)
  .max(3)
  .default(['accuracy', 'macs'])
  .describe(
    'What is to be good; several: the front between them is searched, and the first decides which candidate is the best. accuracy is the metric of the evaluation data (rmse: the smaller the better), all else is to be small. reward: see reward',
  );

/** A soft goal: accuracy against one other figure. */
export const Reward = z
  .strictObject({
    figure: z.enum(['bytes', 'parameters', 'macs', 'bops', 'latencyEstimateMs']),
    target: z.number().positive(),
    within: z.number().min(-10).max(0).default(SOFT_REWARD.within).describe('Exponent up to the target'),
    above: z.number().min(-10).max(0).default(SOFT_REWARD.above).describe('Exponent beyond it'),
  })
  .describe(
    'MnasNet: accuracy times (figure / target) to an exponent, the larger the better; the objective "reward". Not for rmse, which is an error',
  );
export type Reward = z.infer<typeof Reward>;

/** With the reward, where one is asked for and can be computed. */
export function withReward(figures: Figures, reward: Reward | undefined): Figures {
  const value = reward === undefined ? undefined : figures[reward.figure];
  if (reward === undefined || value === undefined || figures.accuracy === undefined) return figures;
  const { within, above, target } = reward;
  return { ...figures, reward: mnasnetReward(figures.accuracy, value, target, { within, above }) };
}

export const Limits = z.strictObject({
  minAccuracy: z.number().optional().describe('Of the metric of the evaluation data; for rmse the most'),
  maxBytes: z.number().positive().optional(),
  maxParameters: z.number().positive().optional(),
  maxMacs: z.number().positive().optional(),
  maxBops: z.number().positive().optional(),
  maxLatencyEstimateMs: z.number().positive().optional().describe('By the kernel cost table; models in float only'),
});
export type Limits = z.infer<typeof Limits>;

const LIMITS: readonly { readonly name: keyof Limits; readonly figure: ObjectiveName; readonly isFloor?: boolean }[] = [
  { name: 'minAccuracy', figure: 'accuracy', isFloor: true },
  { name: 'maxBytes', figure: 'bytes' },
  { name: 'maxParameters', figure: 'parameters' },
  { name: 'maxMacs', figure: 'macs' },
  { name: 'maxBops', figure: 'bops' },
  { name: 'maxLatencyEstimateMs', figure: 'latencyEstimateMs' },
];

export function figuresOf(result: TrialResult): Figures {
  if (result.status === 'failed') return {};
  const given = MEASURED.flatMap((name) => (result[name] === undefined ? [] : [[name, result[name]] as const]));
  return { ...Object.fromEntries(given), ...(result.metric === undefined ? {} : { metric: result.metric }) };
}

/** All to be minimized. NaN where a figure is missing: the trial counts as failed. */
export function objectivesOf(figures: Figures, names: readonly ObjectiveName[]): number[] {
  return names.map((name) => {
    const value = figures[name];
    if (value === undefined) return Number.NaN;
    return name === 'reward' || (name === 'accuracy' && figures.metric !== 'rmse') ? -value : value;
  });
}

/**
 * Sum of the shares by which limits are missed, 0 when all are met.
 *
 * @param ignoreMissing - before a trial has run: of its figures only those known ahead are judged; or the limits that what has no
 * such figure does not miss
 */
export function violationOf(
  figures: Figures,
  limits: Limits,
  ignoreMissing: boolean | ReadonlySet<keyof Limits> = false,
): number {
  const isOpen = (name: keyof Limits): boolean =>
    typeof ignoreMissing === 'boolean' ? ignoreMissing : ignoreMissing.has(name);
  let violation = 0;
  for (const { name, figure, isFloor = false } of LIMITS) {
    const limit = limits[name];
    if (limit === undefined) continue;
    const value = figures[figure];
    if (value === undefined) violation += isOpen(name) ? 0 : 1;
    else violation += missedBy(value, limit, isFloor && figures.metric !== 'rmse');
  }
  return violation;
}

function missedBy(value: number, limit: number, isFloor: boolean): number {
  const distance = isFloor ? limit - value : value - limit;
  return distance <= 0 ? 0 : distance / Math.max(Math.abs(limit), 1e-12);
}
