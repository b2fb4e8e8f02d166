import { z } from 'zod';
import { JobId, Sha256 } from './common.ts';
import { ResolvedRecipe } from './recipe.ts';
import { StoredModelField } from './stored-model.ts';

/** How a trial is measured: `light` its result alone (size, cost, accuracy), `full` like any job, beside its input and timed. */
export const TrialMeasure = z.enum(['light', 'full']);
export type TrialMeasure = z.infer<typeof TrialMeasure>;

/** What one trial of a search runs. Data, preprocessing, target and threads are those of the search. */
export const TrialSpec = z.strictObject({
  model: StoredModelField,
  recipe: ResolvedRecipe,
  measure: TrialMeasure,
  seed: z.number().int().min(0),
  /** The first so many samples of the evaluation data; absent: all that the search has. */
  evaluationSamples: z.number().int().min(1).optional(),
});
export type TrialSpec = z.infer<typeof TrialSpec>;

/** What a trial came to. */
export const TrialResult = z.object({
  status: z.enum(['succeeded', 'failed']),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  bytes: z.number().optional(),
  parameters: z.number().optional(),
  macs: z.number().optional(),
  bops: z.number().optional(),
  /** The evaluation's metric; for `rmse` less is better. */
  metric: z.string().optional(),
  accuracy: z.number().optional(),
  /** Of the trial's input on the same samples; `full` only. */
  accuracyBefore: z.number().optional(),
  bytesBefore: z.number().optional(),
  /** By the kernel cost table, for models in float. */
  latencyEstimateMs: z.number().optional(),
  /** Measured; `full` only. */
  latencyP50Ms: z.number().optional(),
  latencyBeforeP50Ms: z.number().optional(),
  speedup: z.number().optional(),
  verdict: z.enum(['met', 'missed', 'none']).optional(),
});
export type TrialResult = z.infer<typeof TrialResult>;

/** Artifact of a trial's job that holds its TrialResult. */
export const TRIAL_RESULT = 'trial.json';

/** A trial that the search has asked for, in order. `job` and `result` come with time. */
export const TrialEntry = z.object({
  spec: TrialSpec,
  job: JobId.optional(),
  result: TrialResult.optional(),
  /** The model it made is wanted. */
  fetch: z.boolean().optional(),
});
export type TrialEntry = z.infer<typeof TrialEntry>;

/** The log of a search: everything it has asked for. Replaying it gives the same search. */
export const TrialLog = z.object({ version: z.literal(1), entries: z.array(TrialEntry).max(20_000) });
export type TrialLog = z.infer<typeof TrialLog>;

/** Of a search within its step, and of one that was ended before its first trial. */
export const NO_TRIALS: TrialLog = { version: 1, entries: [] };

/** In the record of a job that searches, once it has asked for trials or saved a state that holds a result. */
export const SearchState = z.object({
  /** Object that holds the TrialLog. */
  key: z.string(),
  sha256: Sha256,
  /** Trials whose end the job waits for. */
  waiting: z.array(JobId),
  asked: z.number().int(),
  done: z.number().int(),
});
export type SearchState = z.infer<typeof SearchState>;

/** In the record of a trial's job. */
export const TrialOf = z.object({ parent: JobId, measure: TrialMeasure, hash: Sha256 });
export type TrialOf = z.infer<typeof TrialOf>;
