import { z } from 'zod';
import {
  Constraints,
  DataRoleField,
  EvaluationRoleField,
  Preprocess,
  TargetField,
  ArtifactEntry,
  JobSummary,
  Verdict,
} from '../src/schemas/job.ts';
import { ResolvedRecipe } from '../src/schemas/recipe.ts';

/** What the parent writes to the child's stdin, as one JSON line. Paths are relative to the child's working directory. */
export const ChildTask = z.strictObject({
  jobId: z.string(),
  attempt: z.number().int(),
  modelPath: z.string(),
  modelSha256: z.string(),
  recipe: ResolvedRecipe,
  data: z.strictObject({
    calibration: DataRoleField.extend({ path: z.string() }).optional(),
    training: DataRoleField.extend({ path: z.string() }).optional(),
    evaluation: EvaluationRoleField.extend({ path: z.string() }).optional(),
  }),
  preprocess: Preprocess.optional(),
  constraints: Constraints,
  target: TargetField,
  threads: z.number().int(),
  seed: z.number(),
  costTablePath: z.string(),
  outputPath: z.string(),
  /** A checkpoint directory of an earlier attempt to resume from. */
  resume: z.strictObject({ path: z.string(), steps: z.number().int() }).optional(),
});
export type ChildTask = z.infer<typeof ChildTask>;

/** What the child writes, one JSON line each, at most 64 KiB. Anything else on its stdout is logged as text, cut. */
export const ChildMessage = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({
    type: z.literal('progress'),
    step: z.number().int().nullable(),
    progress: z.number().min(0).max(1),
    message: z.string().max(500).optional(),
  }),
  z.strictObject({
    type: z.literal('log'),
    level: z.enum(['debug', 'info', 'warn', 'error']),
    message: z.string().max(4000),
    fields: z.record(z.string(), z.unknown()).optional(),
  }),
  z.strictObject({
    type: z.literal('step'),
    index: z.number().int(),
    pass: z.string(),
    seconds: z.number(),
    changes: z.number().int(),
    skipped: z.number().int(),
  }),
  /** A file set under the working directory that a later attempt can resume from. The parent uploads it. */
  z.strictObject({ type: z.literal('checkpoint'), path: z.string(), steps: z.number().int() }),
  z.strictObject({
    type: z.literal('result'),
    artifacts: z.array(ArtifactEntry),
    summary: JobSummary,
    verdict: Verdict,
    computeMs: z.number(),
  }),
  z.strictObject({
    type: z.literal('error'),
    code: z.string(),
    message: z.string().max(8000),
    step: z.number().int().nullable(),
    retryable: z.boolean(),
  }),
]);
export type ChildMessage = z.infer<typeof ChildMessage>;
