import { z } from 'zod';
import { Sha256, Timestamp } from './common.ts';
import { Diagnosis } from './diagnosis.ts';
import { ArtifactEntry, TargetField, Verdict } from './job.ts';
import { ResolvedRecipe } from './recipe.ts';
import { TrainingRunReport } from './training-report.ts';

/**
 * The report: the contract of `GET /v1/jobs/{id}/report`. Shares are 0..1, sizes in bytes, times in the unit of the
 * name. A number that was not measured is absent, and `notMeasured` says why; nothing is filled with 0.
 */

const Interval = z.tuple([z.number(), z.number()]).describe('95 % confidence interval, [low, high]');
const Share = z.number().min(0).max(1);
const Count = z.number().int().min(0);

export const ReportMetric = z.enum(['top1', 'top5', 'rmse']);

const Rate = z.object({ value: Share, confidenceInterval: Interval });

export const PerClass = z.object({
  class: Count,
  name: z.string().optional(),
  support: Count.describe('Samples with this label'),
  predicted: Count.describe('Samples the model gave this class'),
  precision: Share.nullable().describe('Null when the model never gave this class'),
  recall: Share.nullable().describe('Null when no sample has this label'),
});

export const Accuracy = z.object({
  metric: ReportMetric,
  value: z
    .number()
    .describe(
      'top1, top5: share of samples that are right. rmse: root of the mean squared error, in units of the target',
    ),
  samples: Count,
  confidenceInterval: Interval,
  output: z.string().describe('The model output that was compared with the labels'),
  nonFiniteSamples: Count.describe('Samples whose output held NaN or infinity; they count as wrong'),
  correct: Count.optional(),
  top1: Rate.optional(),
  top5: Rate.optional(),
  meanAbsoluteError: z.number().optional(),
  macroF1: Share.optional().describe('Mean F1 of the classes that occur'),
  perClass: z.array(PerClass).optional(),
  confusions: z
    .array(z.object({ label: Count, predicted: Count, samples: Count }))
    .optional()
    .describe('The most frequent mistakes, at most 50'),
});
export type Accuracy = z.infer<typeof Accuracy>;

export const Latency = z.object({
  p50Ms: z.number(),
  p90Ms: z.number(),
  p99Ms: z.number(),
  meanMs: z.number(),
  minMs: z.number(),
  runs: Count,
  warmupRuns: Count,
  threads: Count,
  batch: Count,
  coldStartMs: z.number().describe('Creating the session and the first run'),
  coefficientOfVariation: z.number().describe('Of the medians of the blocks: how steady the machine was'),
  histogram: z
    .object({ fromMs: z.number(), toMs: z.number(), counts: z.array(Count), above: Count })
    .describe('Runs by time, in equal bins up to the 95th percentile or twice the median; `above` are the rest'),
});
export type Latency = z.infer<typeof Latency>;

export const Measurement = z.object({
  sha256: Sha256.optional(),
  bytes: Count.describe('Model file and its external data'),
  bytesCompressed: Count.optional(),
  bytesSparse: Count.optional().describe(
    'Bytes of the weights alone, stored as a bitmap and the nonzero values where that is smaller; absent where it is smaller for none',
  ),
  compression: z.enum(['zstd', 'gzip']).optional(),
  parameters: Count.optional(),
  nonzeroParameters: Count.optional(),
  effectiveBitsPerWeight: z.number().optional(),
  sparsity: Share.optional().describe('Share of parameters that are exactly zero'),
  macs: Count.optional().describe('Multiply-accumulates of one sample'),
  operations: z
    .object({
      multiplications: Count,
      additions: Count,
      adderOperations: Count.describe('Distances that adder layers take: two additions each, among the additions'),
    })
    .optional()
    .describe('Arithmetic of one sample, multiplications and additions apart. A multiply-accumulate is one of each'),
  bops: z.number().optional().describe('Bit operations of one sample: MACs x weight bits x activation bits'),
  peakActivationBytes: Count.optional(),
  operators: z.record(z.string(), Count),
  integerNodesShare: Share.optional().describe(
    'Share of compute kernels that ONNX Runtime runs in integers on this CPU',
  ),
  accuracy: Accuracy.optional(),
  latency: Latency.optional(),
});
export type Measurement = z.infer<typeof Measurement>;

const Change = z.object({
  before: z.number(),
  after: z.number(),
  difference: z.number().describe('after - before'),
  ratio: z.number().nullable().describe('before / after: 4 means four times less; null when after is 0'),
});
export type Change = z.infer<typeof Change>;

export const PairedTest = z.object({
  method: z.enum(['mcnemar-exact', 'mcnemar-chi-square', 'paired-mean']),
  onlyBaselineCorrect: Count.optional(),
  onlyResultCorrect: Count.optional(),
  statistic: z.number(),
  pValue: Share,
});

export const AccuracyComparison = z.object({
  metric: ReportMetric,
  before: z.number(),
  after: z.number(),
  difference: z.number().describe('after - before; negative is a loss for top1 and top5, positive is a loss for rmse'),
  confidenceInterval: Interval.describe(
    '95 % interval of the difference, from the same samples in pairs. For rmse: of the mean squared error',
  ),
  samples: Count,
  pairedTest: PairedTest,
  significant: z.boolean().describe('The paired test finds a difference at the 5 % level'),
  agreement: Rate.optional().describe('Share of samples to which both models give the same class'),
});
export type AccuracyComparison = z.infer<typeof AccuracyComparison>;

export const OutputComparison = z.object({
  name: z.string(),
  type: z.string(),
  samples: Count,
  cosine: z.number().nullable().describe('1: same direction; null when one side is all zero'),
  sqnrDb: z.number().nullable().describe('20 log10(|x| / |x - y|); null with `note` when there is no finite value'),
  maxAbsDifference: z.number().nullable(),
  equalShare: Share.describe('Share of elements that are exactly equal'),
  nonFiniteElements: z.object({ baseline: Count, result: Count }),
  note: z.string().optional(),
});
export type OutputComparison = z.infer<typeof OutputComparison>;

export const LatencyComparison = z.object({
  speedup: z
    .number()
    .describe('Time of the input model over that of the result, median of neighbouring blocks; above 1 is faster'),
  confidenceInterval: Interval,
  verdict: z.enum(['faster', 'slower', 'inconclusive']),
  reason: z.string(),
  blocks: Count,
  spinning: z.boolean(),
});
export type LatencyComparison = z.infer<typeof LatencyComparison>;

export const Comparison = z.object({
  bytes: Change,
  bytesCompressed: Change.optional(),
  parameters: Change.optional(),
  macs: Change.optional(),
  bops: Change.optional(),
  peakActivationBytes: Change.optional(),
  accuracy: AccuracyComparison.optional(),
  outputs: z.array(OutputComparison).optional(),
  latency: LatencyComparison.optional(),
});
export type Comparison = z.infer<typeof Comparison>;

const ValueRange = z.object({ min: z.number(), max: z.number() });

export const LayerReport = z.object({
  name: z.string(),
  opType: z.string(),
  output: z.string().describe('The value that was compared in both models'),
  shape: z.array(z.union([z.number(), z.string(), z.null()])).optional(),
  weights: z
    .object({
      shape: z.array(z.number()),
      type: z.string(),
      bits: z.number(),
      sparsity: Share,
      sqnrDb: z.number().nullable().optional().describe('Stored weights against the original ones; null: identical'),
      saturatedShare: Share.optional().describe('Quantized weights at an end of their range'),
      removedChannels: Count.optional(),
    })
    .optional(),
  activations: z
    .object({
      type: z.string(),
      bits: z.number(),
      range: ValueRange.optional().describe('Values of the input model'),
      quantizedRange: ValueRange.optional().describe('What the quantized type can hold'),
      saturatedShare: Share.optional().describe('Share of values clipped to an end of the quantized range'),
    })
    .optional(),
  sqnrDb: z
    .number()
    .nullable()
    .optional()
    .describe('Output against the input model, errors of earlier layers included; null: identical'),
  cosine: z.number().nullable().optional(),
  note: z.string().optional(),
});
export type LayerReport = z.infer<typeof LayerReport>;

export const StepReport = z.object({
  index: Count,
  pass: z.string(),
  options: z.record(z.string(), z.unknown()),
  seconds: z.number().min(0),
  changed: Count,
  skipped: z.array(z.object({ node: z.string(), reason: z.string() })),
  warnings: z.array(z.string()),
  training: z.array(TrainingRunReport).optional().describe('Curves of a step that trains, one entry a network'),
  diagnosis: Diagnosis.optional().describe(
    'Of a step that quantizes without training: which layers lose the accuracy, and why',
  ),
  details: z.record(z.string(), z.unknown()).describe("The pass's own numbers"),
});
export type StepReport = z.infer<typeof StepReport>;

export const ConstraintReport = z.object({
  name: z.enum(['maxAccuracyDrop', 'maxBytes', 'maxLatencyP50Ms', 'minSpeedup', 'maxFloatNodes']),
  limit: z.number(),
  value: z.number().nullable().describe('Null when it was not measured'),
  met: z.boolean().nullable().describe('Null: the measurement cannot tell; see explanation'),
  explanation: z.string(),
});
export type ConstraintReport = z.infer<typeof ConstraintReport>;

export const Recommendation = z.object({
  code: z.string().describe('Stable word for programs'),
  level: z.enum(['info', 'advice', 'warning']),
  message: z.string(),
  change: z
    .object({ pass: z.string(), options: z.record(z.string(), z.unknown()) })
    .optional()
    .describe('What to set in the recipe, where the advice comes down to that'),
});
export type Recommendation = z.infer<typeof Recommendation>;

export const Environment = z.object({
  tersor: z.string(),
  node: z.string(),
  runtime: z.string(),
  platform: z.string(),
  architecture: z.string(),
  cpuModel: z.string(),
  cpuFlags: z.array(z.string()).describe('Instruction sets that matter for inference'),
  cpuCores: Count,
  memoryBytes: Count,
  threads: Count,
  seed: z.number(),
  costTable: z.string().optional().describe('sha256 of the kernel cost table that choices rest on'),
});
export type Environment = z.infer<typeof Environment>;

export const RoleReport = z.object({
  dataset: z.string(),
  samples: Count.describe('Used in this role'),
  nonFiniteValues: Count.describe('NaN and infinite values among the inputs that were read'),
  warnings: z.array(z.string()),
});
export type RoleReport = z.infer<typeof RoleReport>;

const ReportValue = z.object({
  name: z.string(),
  type: z.string(),
  shape: z.array(z.union([z.number(), z.string(), z.null()])).nullable(),
});

/** Timings of both models at one batch size. */
export const BatchLatency = z.object({
  batch: Count,
  baseline: Latency,
  result: Latency,
  comparison: LatencyComparison,
});
export type BatchLatency = z.infer<typeof BatchLatency>;

export const Report = z.object({
  version: z.literal(1),
  job: z.string().nullable().describe('Null when the recipe ran without the service'),
  createdAt: Timestamp,
  model: z.object({
    id: z.string().optional(),
    sha256: Sha256.optional(),
    producer: z.string(),
    irVersion: z.number(),
    opset: z.number(),
    inputs: z.array(ReportValue),
    outputs: z.array(ReportValue),
  }),
  recipe: ResolvedRecipe,
  data: z.partialRecord(z.enum(['calibration', 'training', 'evaluation']), RoleReport),
  target: TargetField,
  verdict: Verdict,
  headline: z.string().describe('The outcome in one or two plain sentences'),
  environment: Environment,
  baseline: Measurement,
  result: Measurement,
  comparison: Comparison,
  latencyAtBatches: z
    .array(BatchLatency)
    .optional()
    .describe('At the batch sizes of target.latencyBatches, where the job names some'),
  layers: z.array(LayerReport),
  steps: z.array(StepReport),
  constraints: z.array(ConstraintReport),
  recommendations: z.array(Recommendation),
  artifacts: z.array(ArtifactEntry),
  notMeasured: z.array(z.object({ name: z.string(), reason: z.string() })),
});
export type Report = z.infer<typeof Report>;
