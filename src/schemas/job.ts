import { z } from 'zod';
import { DatasetId, JobId, ModelId, Sha256, Timestamp } from './common.ts';
import { ArchitectureField } from './architecture.ts';
import { Constraints } from './constraints.ts';
import { RecipeField, ResolvedRecipe } from './recipe.ts';
import { StoredModelField } from './stored-model.ts';
import { SearchState, TrialOf } from './trial.ts';

export const JOB_STATUSES = ['queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled'] as const;
export const JobStatus = z.enum(JOB_STATUSES);
export type JobStatus = z.infer<typeof JobStatus>;
export const TERMINAL_STATUSES: ReadonlySet<JobStatus> = new Set<JobStatus>(['succeeded', 'failed', 'canceled']);

export const JOB_EVENT_TYPES = [
  'job.queued',
  'job.running',
  'job.step',
  'job.progress',
  'job.succeeded',
  'job.failed',
  'job.canceled',
] as const;
export const JobEventType = z.enum(JOB_EVENT_TYPES);
export type JobEventType = z.infer<typeof JobEventType>;

const perChannel = z.union([z.number(), z.array(z.number()).min(1).max(16)]);

export const Preprocess = z.strictObject({
  scale: z.number().positive().default(1).describe('x = (pixel * scale - mean) / std; applied to uint8 images'),
  mean: perChannel.default(0),
  std: perChannel.default(1).refine((std) => [std].flat().every((value) => value > 0), 'must be above 0'),
  layout: z.enum(['nchw', 'nhwc']).default('nchw').describe('Layout of the model input'),
  channelOrder: z.enum(['rgb', 'bgr']).default('rgb'),
  resize: z
    .strictObject({
      height: z.number().int().min(1).max(8192),
      width: z.number().int().min(1).max(8192),
      fit: z.enum(['fill', 'cover', 'contain']).default('cover'),
    })
    .nullable()
    .default(null),
});
export type Preprocess = z.infer<typeof Preprocess>;

const roleFields = {
  dataset: DatasetId,
  samples: z.number().int().min(1).max(10_000_000).optional().describe('The first so many samples of the range'),
  range: z
    .tuple([z.number().int().min(0), z.number().int().min(1)])
    .refine(([from, to]) => from < to, 'from must be below to')
    .optional()
    .describe('Samples [from, to)'),
  inputs: z.record(z.string().max(256), z.string().max(256)).optional().describe('Model input to array name'),
  labels: z.string().max(256).optional().describe('Array of labels; default `labels`'),
  preprocess: Preprocess.optional(),
};
export const DataRoleField = z.strictObject(roleFields);
export type DataRoleField = z.infer<typeof DataRoleField>;
export const EvaluationRoleField = z.strictObject({
  ...roleFields,
  metric: z
    .enum(['top1', 'top5', 'rmse', 'none'])
    .optional()
    .describe('Default: top1 with integer labels, rmse with float labels'),
});
export type EvaluationRoleField = z.infer<typeof EvaluationRoleField>;

export const TargetField = z.strictObject({
  cpu: z.enum(['portable', 'x64-vnni', 'arm64-dotprod', 'this', 'int8-only']).default('portable'),
  latencyBatches: z
    .array(z.number().int().min(2).max(1024))
    .min(1)
    .max(4)
    .optional()
    .describe('Batch sizes at which latency is measured as well; at batch 1 it always is'),
});

export const MAX_DEADLINE_SECONDS = 7 * 24 * 3600;

/** An uploaded model, or a fresh network of the zoo: its weights come from the job's seed. */
const ModelField = z.union([ModelId, ArchitectureField], {
  error: (issue) =>
    typeof issue.input === 'object' && issue.input !== null
      ? undefined
      : 'must be the id of a model, or { "architecture": name, ...options }',
});

export const CreateJob = z.strictObject({
  model: ModelField,
  recipe: RecipeField,
  data: z
    .strictObject({
      calibration: DataRoleField.optional(),
      training: DataRoleField.optional(),
      evaluation: EvaluationRoleField.optional(),
    })
    .default({}),
  preprocess: Preprocess.optional(),
  constraints: Constraints.default({}),
  target: TargetField.default({ cpu: 'portable' }),
  threads: z.number().int().min(1).max(256).optional(),
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  deadlineSeconds: z.number().int().min(1).max(MAX_DEADLINE_SECONDS).optional(),
  priority: z.number().int().min(0).max(10).default(0).describe('Higher first among your own jobs; tenants take turns'),
  webhook: z
    .strictObject({
      url: z.string().max(2048),
      events: z.array(JobEventType).min(1).max(JOB_EVENT_TYPES.length).optional(),
    })
    .optional(),
  metadata: z.record(z.string().min(1).max(64), z.string().max(512)).default({}),
});
export type CreateJob = z.infer<typeof CreateJob>;

export const JobError = z.object({
  code: z.string(),
  message: z.string(),
  step: z.number().int().nullable(),
  retryable: z.boolean(),
});
export type JobError = z.infer<typeof JobError>;

const beforeAfter = z.object({ before: z.number().nullable(), after: z.number().nullable() });
export const JobSummary = z.object({ bytes: beforeAfter, accuracy: beforeAfter, latencyP50Ms: beforeAfter });
export type JobSummary = z.infer<typeof JobSummary>;

export const Verdict = z.enum(['met', 'missed', 'none']);

/** What the API answers. */
export const Job = z.object({
  id: JobId,
  status: JobStatus,
  attempt: z.number().int(),
  step: z.number().int().nullable().describe('Index of the recipe step at work'),
  progress: z.number().min(0).max(1),
  model: StoredModelField,
  recipe: ResolvedRecipe,
  data: CreateJob.shape.data,
  preprocess: Preprocess.optional(),
  constraints: Constraints,
  target: TargetField,
  threads: z.number().int(),
  seed: z.number(),
  deadlineSeconds: z.number().int(),
  priority: z.number().int(),
  webhook: CreateJob.shape.webhook,
  metadata: z.record(z.string(), z.string()),
  createdAt: Timestamp,
  startedAt: Timestamp.nullable(),
  finishedAt: Timestamp.nullable(),
  queuePosition: z.number().int().nullable(),
  error: JobError.nullable(),
  verdict: Verdict.nullable(),
  summary: JobSummary.nullable(),
  parent: JobId.optional().describe('Of a trial: the job whose search asked for it first'),
  trials: z.object({ asked: z.number().int(), done: z.number().int() }).optional().describe('Of a job that searches'),
  links: z.record(z.string(), z.string()),
});
export type Job = z.infer<typeof Job>;

/** What the store keeps under compare-and-set: everything of Job but what is computed when asked, plus the machinery's own fields. */
export const JobRecord = Job.omit({ links: true, queuePosition: true, parent: true, trials: true }).extend({
  recordVersion: z.literal(1),
  tenant: z.string(),
  /** sha256 of the model and of each role's data set, so that a worker checks what it downloads. */
  inputs: z.record(z.string(), Sha256),
  /** Crashes of the child so far; the breaker opens at 2. */
  crashes: z.number().int(),
  /** Attempts whose worker fell silent; the breaker opens at 10. */
  lostAttempts: z.number().int(),
  /** Last sign of life of the running attempt. */
  heartbeatAt: Timestamp.nullable(),
  workerId: z.string().nullable(),
  /** Key of the newest checkpoint and the number of steps it holds. */
  checkpoint: z.object({ key: z.string(), steps: z.number().int(), sha256: Sha256 }).nullable(),
  /** Hash of the kernel cost table the first attempt used; later attempts use the same. */
  costTable: z.string().nullable(),
  deadlineAt: Timestamp.nullable().describe('startedAt of the first attempt plus deadlineSeconds'),
  idempotencyKey: z.string().nullable(),
  /** What a job that searches has asked for; absent before its first trial. */
  search: SearchState.optional(),
  /** Of a job that is a trial of another one's search. */
  trial: TrialOf.optional(),
});
export type JobRecord = z.infer<typeof JobRecord>;

/** Published last, once, by the attempt that won: what a finished job consists of. */
export const ArtifactEntry = z.object({
  name: z.string(),
  kind: z.enum(['model', 'external-data', 'report-json', 'report-html', 'log', 'sidecar']),
  bytes: z.number().int(),
  sha256: Sha256,
  contentType: z.string(),
});
export type ArtifactEntry = z.infer<typeof ArtifactEntry>;
export const Manifest = z.object({
  version: z.literal(1),
  job: JobId,
  attempt: z.number().int(),
  createdAt: Timestamp,
  /** Name to object key is `attemptPrefix(tenant, job, attempt) + name` (src/jobs/job-keys.ts). */
  artifacts: z.array(ArtifactEntry),
  summary: JobSummary,
  verdict: Verdict,
});
export type Manifest = z.infer<typeof Manifest>;
