import { z } from 'zod';
import { Limits, objectivesOption } from './goals.ts';
import { STRATEGY_NAMES } from './strategies.ts';

/** What all searches take. */
export const searchOptions = {
  strategy: z.enum(STRATEGY_NAMES).default('evolution').describe('How the next candidates are chosen'),
  objectives: objectivesOption,
  constraints: Limits.default({}).describe('Hard limits: a candidate within all of them is better than any other'),
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
  compareWithRandom: z
    .boolean()
    .default(false)
    .describe('Runs as many candidates at random besides, and reports the best of them'),
  keepFront: z.number().int().min(0).max(32).default(8).describe('Pareto points handed out as artifacts, at most'),
};
