import { Constraints } from '../src/schemas/constraints.ts';
import { z } from 'zod';
import {
  ArtifactEntry,
  DataRoleField,
  EvaluationRoleField,
  JobSummary,
  Preprocess,
  TargetField,
  Verdict,
} from '../src/schemas/job.ts';
import { ResolvedRecipe } from '../src/schemas/recipe.ts';
import { StoredModelField } from '../src/schemas/stored-model.ts';
import { TrialMeasure } from '../src/schemas/trial.ts';

/** Longest line either side accepts; a longer one is a protocol error and ends the child. */
export const MAX_LINE_BYTES = 256 * 1024;

/** Runs one attempt of a job. Paths are relative to the child's working directory. */
export const JobTask = z.strictObject({
  kind: z.literal('job'),
  jobId: z.string(),
  attempt: z.number().int(),
  /** Of the uploaded model; absent: the child makes the network of `architecture`. */
  modelPath: z.string().optional(),
  /** Path of each further model that a step names, by id. */
  models: z.record(z.string(), z.string()).optional(),
  model: StoredModelField,
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
  /** Folder of a checkpoint that an earlier attempt left, to go on from. */
  resumePath: z.string().optional(),
  /** Present where the job is a trial of a search. */
  trial: z.strictObject({ measure: TrialMeasure }).optional(),
  /** Of a job that searches: its trials so far, a TrialLog. Models that were asked for lie at `trials/<index>/model.onnx`. */
  trialsPath: z.string().optional(),
  /** The search has to come to its end with what there is. */
  concluding: z.boolean().optional(),
  /** How often a long step saves its state, in seconds of work. */
  snapshotSeconds: z.number(),
});
export type JobTask = z.infer<typeof JobTask>;

/** Measures the kernel cost table of this machine and writes it as JSON. */
export const MeasureCostsTask = z.strictObject({
  kind: z.literal('measure-costs'),
  threads: z.number().int(),
  outputPath: z.string(),
});

/** What the parent writes to the child's stdin: one JSON line, once. End of input means that the parent is gone. */
export const ChildTask = z.discriminatedUnion('kind', [JobTask, MeasureCostsTask]);
export type ChildTask = z.infer<typeof ChildTask>;

/** What the child writes to file descriptor 3, one JSON line each. Its stdout and stderr are only ever logged. */
export const ChildMessage = z.discriminatedUnion('type', [
  /** Modules loaded, waiting for the task. */
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
  /** Files under `path` that a later attempt can resume from; written completely. The parent uploads them. */
  z.strictObject({
    type: z.literal('checkpoint'),
    path: z.string(),
    files: z.array(z.string()),
    steps: z.number().int(),
    /** Rises by one; a folder of its own for each. */
    sequence: z.number().int(),
    /** Taken in the middle of a step: nobody needs the folder once it is uploaded, nor its objects once the next one is. */
    withinStep: z.boolean(),
    /** The step searches, and makes a result of this when it has to conclude. */
    holdsResult: z.boolean(),
  }),
  /** The search cannot go on before the trials in this TrialLog have ended. The child ends after it. */
  z.strictObject({ type: z.literal('trials'), path: z.string() }),
  z.strictObject({
    type: z.literal('result'),
    /** Files under the working directory, by artifact name. */
    artifacts: z.array(ArtifactEntry.extend({ path: z.string() })),
    summary: JobSummary,
    verdict: Verdict,
    /** From the task's arrival to this message. */
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
