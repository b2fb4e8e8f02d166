import { z } from 'zod';
import { MAX_FRONT, MAX_FRONT_BYTES } from './front-models.ts';
import { Limits, objectivesOption, Reward } from './goals.ts';
import { STRATEGY_NAMES } from './strategies.ts';

/** What all searches take. */
export const searchOptions = {
  strategy: z.enum(STRATEGY_NAMES).default('evolution').describe('How the next candidates are chosen'),
  objectives: objectivesOption,
  constraints: Limits.default({}).describe(
    "Hard limits: a candidate within all of them is better than any other. The job's constraints count besides, as far as a trial can tell",
  ),
  reward: Reward.optional(),
  trials: z.number().int().min(1).max(2000).default(32).describe('Candidates that are run'),
  batch: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(8)
    .describe('Candidates chosen together and run side by side; the next ones are chosen when all of them have ended'),
  evaluationSamples: z
    .number()
    .int()
    .min(1)
    .optional()
    .describe('Candidates are measured on the first so many samples of the evaluation data, the winner on all'),
  earlyStopping: z
    .strictObject({
      minBudget: z.number().gt(0).lt(1).describe('Share of the training that every candidate gets'),
      eta: z.number().gt(1).max(16).default(3).describe('The best one in so many gets so many times as much'),
    })
    .optional()
    .describe(
      'Successive halving among the candidates of a batch: bad ones are stopped after a part of their training',
    ),
  compareWithRandom: z
    .boolean()
    .default(false)
    .describe('Runs as many candidates at random besides, and reports the best of them'),
  keepFront: z
    .number()
    .int()
    .min(0)
    .max(MAX_FRONT)
    .default(MAX_FRONT)
    .describe(
      `Pareto points handed out as artifacts, at most, by the first objective: the whole front unless it is larger, or its files have more than ${MAX_FRONT_BYTES / 2 ** 20} MiB together; besides, the best candidate regardless of the constraints`,
    ),
};

/** Training of a candidate at a share of its budget: fewer epochs, one at least. */
export function epochsAt(epochs: number, budget: number): number {
  return Math.max(1, Math.round(epochs * budget));
}

type SearchOptions = z.output<z.ZodObject<typeof searchOptions>>;

/** What of the options is the plan's. */
export function plannedOptions({
  strategy,
  objectives,
  constraints,
  reward,
  trials,
  batch,
  earlyStopping,
}: SearchOptions) {
  return {
    strategy,
    objectives,
    constraints,
    trials,
    batch,
    ...(reward === undefined ? {} : { reward }),
    ...(earlyStopping === undefined ? {} : { earlyStopping }),
  };
}
