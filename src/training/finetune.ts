import { softTargets, type TrainingBatch } from '../data/training/training-batch.ts';
import type { TrainingOptions, TrainingSource } from '../data/training/training-source.ts';
import { CompressionError } from '../errors.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { Model } from '../onnx/model.ts';
import { elementCount, type NdArray } from '../onnx/nd-array.ts';
import type { FeedSource, StepCheckpoint } from '../passes/pass.ts';
import type { Runtime } from '../runtime/session.ts';
import type { TrainingField } from '../schemas/training.ts';
import type { RewriteForward } from './forward-rewrite.ts';
import { LessonOfTeacher, type TeacherSettings } from './lesson-of-teacher.ts';
import { LABELS, taskLoss, type LabelKind } from './losses/task-loss.ts';
import { decodeSnapshot, encodeSnapshot } from './snapshot-codec.ts';
import { train, type TrainerSettings, type TrainingOutcome } from './trainer.ts';
import type { TrainedValues } from './trained-values.ts';
import { masksOfZeros, type MaskUpdates, type WeightMasks } from './weight-masks.ts';
import { buildTrainingGraph, type TrainingGraph, type TrainingGraphOptions } from './training-graph.ts';

/** What a training run on a job's data takes besides the model and the settings. */
export interface FinetuneContext {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly seed: number;
  readonly signal: AbortSignal;
  readonly openTraining: (options: TrainingOptions) => Promise<TrainingSource>;
  readonly roles: Readonly<Partial<Record<'calibration' | 'evaluation', FeedSource>>>;
  progress(fraction: number, message: string): void;
  readonly checkpoint: StepCheckpoint;
  /** The run ends where an earlier attempt had got to; default: it goes on from there. */
  readonly concluding?: boolean;
}

export interface FinetuneResult {
  readonly outcome: TrainingOutcome;
  readonly graph: TrainingGraph;
  readonly warnings: readonly string[];
}

/** The settings of a run with the learning rate filled in. */
export function trainerSettings(training: TrainingField): TrainerSettings {
  return {
    epochs: training.epochs,
    learningRate: training.learningRate ?? (training.optimizer.name === 'sgd' ? 0.01 : 0.001),
    schedule: training.schedule,
    optimizer: training.optimizer,
    accumulate: training.accumulate,
    averageDecay: training.ema,
    keep: training.keep,
    patience: training.patience,
  };
}

/** Weights that are pruned while they are trained. */
export interface SparseTraining {
  readonly masks: WeightMasks;
  /** @param updates - of the whole run */
  schedule(updates: number): MaskUpdates;
}

/** What a run does besides training the network as it is. */
export interface TrainingVariant {
  readonly sparse?: SparseTraining | undefined;
  /** Trains another form of the network than the model's own, and validates the form it will have. */
  readonly form?:
    | {
        readonly rewrite: RewriteForward;
        /** Absent: it is not measured, and the last epoch is kept. */
        readonly deployed?: (model: Model, values: TrainedValues) => Model;
        /** For inputs that the rewrite declares. @param fraction - of the run's batches that is done, 0..1 */
        readonly feeds?: (batch: TrainingBatch, fraction: number) => Readonly<Record<string, NdArray>>;
      }
    | undefined;
  readonly teacher?: TeacherSettings | undefined;
}

/**
 * Trains a model on its task with labelled data. The model is not changed; `applyTrained` puts the values into it.
 *
 * @throws CompressionError DATASET_* before the first epoch for data that cannot be trained on; TRAIN_DIVERGED; TRAIN_NO_GRADIENT
 */
export async function finetune(
  model: Model,
  training: TrainingField,
  context: FinetuneContext,
  variant: TrainingVariant = {},
): Promise<FinetuneResult> {
  const source = await openSource(model, training, context);
  try {
    const first = await firstBatch(source);
    const { teacher } = variant;
    const lesson = teacher === undefined ? undefined : await LessonOfTeacher.create(teacher, shapesOf(first), context);
    try {
      return await runOn({ source, first, lesson }, model, { training, variant }, context);
    } finally {
      await lesson?.release();
    }
  } finally {
    await source.close();
  }
}

function shapesOf({ feeds }: TrainingBatch): Record<string, readonly number[]> {
  return Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
}

/**
 * The training data as the settings ask for it. Who opens it closes it.
 *
 * @throws CompressionError DATASET_* for data that cannot be trained on
 */
export function openSource(
  model: Model,
  training: TrainingField,
  context: Pick<FinetuneContext, 'openTraining' | 'seed'>,
): Promise<TrainingSource> {
  const classes = training.loss === 'cross-entropy' ? classesOf(model) : undefined;
  return context.openTraining({
    batchSize: training.batchSize,
    seed: context.seed,
    augment: training.augment,
    validationFraction: 'fraction' in training.validation ? training.validation.fraction : 0,
    labels: training.loss === 'cross-entropy' ? 'class' : 'any',
    ...(classes === undefined ? {} : { classes }),
  });
}

interface OpenCourse {
  readonly source: TrainingSource;
  readonly first: TrainingBatch;
  readonly lesson: LessonOfTeacher | undefined;
}

async function runOn(
  { source, first, lesson }: OpenCourse,
  model: Model,
  { training, variant }: { readonly training: TrainingField; readonly variant: TrainingVariant },
  context: FinetuneContext,
): Promise<FinetuneResult> {
  const { sparse, form } = variant;
  const kind = labelKind(first);
  const warnings = [...source.info.warnings];
  if (kind === 'distribution' && training.classWeights !== undefined) {
    warnings.push('classWeights are not used with mixup or cutmix: a mixed sample has no class of its own.');
  }
  const task = taskLoss({ ...training, name: training.loss }, kind);
  const graph = trainingGraph(model, training, {
    inputShapes: shapesOf(first),
    loss: lesson?.beside(task) ?? task,
    seed: context.seed,
    rewrite: form?.rewrite,
    ...(sparse === undefined ? {} : { masks: sparse.masks }),
  });
  const isMeasured = form === undefined || form.deployed !== undefined;
  const validation = isMeasured ? validationSource(source, model, training, context) : undefined;
  if (isMeasured && validation === undefined && training.keep === 'best') {
    warnings.push('There is no validation data, so the last epoch is kept.');
  }
  const key = JSON.stringify([training, context.seed, source.info.samples, graph.state.map(({ name }) => name)]);
  const saved = await context.checkpoint.load();
  const outcome = await train({
    model,
    graph,
    source,
    validation,
    settings: trainerSettings(training),
    runtime: context.runtime,
    threads: context.threads,
    signal: context.signal,
    masks: sparse?.schedule(training.epochs * Math.floor(source.info.stepsPerEpoch / training.accumulate)),
    deployed: form?.deployed,
    feedsOf: async (batch) => ({
      ...batch.feeds,
      ...labelFeeds(batch, graph, training.labelSmoothing),
      ...(await lesson?.feeds(batch.feeds)),
      ...form?.feeds?.(batch, (batch.epoch + batch.step / source.info.stepsPerEpoch) / training.epochs),
    }),
    progress: (fraction, message) => context.progress(fraction, message),
    save: (snapshot) => context.checkpoint.save(encodeSnapshot(snapshot, key)),
    snapshotSeconds: context.checkpoint.everySeconds,
    resume: saved === undefined ? undefined : decodeSnapshot(saved, key),
    concluding: context.concluding,
  });
  return { outcome, graph, warnings: [...warnings, ...outcome.warnings] };
}

/**
 * The training graph that a `training` field asks for, with any loss. Without `masks`, and unless `keepZeros` is off, zeros of
 * weights that were pruned before stay zeros.
 */
export function trainingGraph(
  model: Model,
  training: TrainingField,
  given: Pick<TrainingGraphOptions, 'loss' | 'inputShapes' | 'seed' | 'masks' | 'rewrite'>,
): TrainingGraph {
  const masks = given.masks ?? (training.keepZeros ? masksOfZeros(model) : undefined);
  return buildTrainingGraph(model, {
    ...given,
    masks,
    batchSize: training.batchSize,
    optimizer: training.optimizer,
    clipNorm: training.clipNorm,
    average: training.ema !== undefined,
    batchNormalization: training.batchNormalization,
    decayExempt: training.weightDecayExempt,
    accumulate: training.accumulate,
    trainable: training.trainable,
    frozen: training.frozen,
  });
}

/** @throws CompressionError DATASET_EMPTY, DATASET_LABELS */
export async function firstBatch(source: TrainingSource): Promise<TrainingBatch> {
  for await (const batch of source.epoch(0)) {
    if (batch.labels !== undefined) return batch;
    throw new CompressionError(
      'DATASET_LABELS',
      'training needs labels and the data set has none; name the array in data.training.labels',
    );
  }
  throw new CompressionError('DATASET_EMPTY', 'the training data gives no batch');
}

export function labelKind(batch: TrainingBatch): LabelKind {
  if (!(batch.labels?.data instanceof BigInt64Array)) return 'target';
  return batch.mixed === undefined ? 'index' : 'distribution';
}

/**
 * The labels as the graph's loss takes them.
 *
 * @throws CompressionError DATASET_LABELS when their number does not fit the model's output
 */
export function labelFeeds(batch: TrainingBatch, graph: TrainingGraph, smoothing: number): Record<string, NdArray> {
  const input = graph.lossInputs.find(({ name }) => name === LABELS);
  if (input === undefined || batch.labels === undefined) return {};
  const { shape } = input;
  const labels = labelKind(batch) === 'distribution' ? softTargets(batch, shape[1] ?? 1, smoothing) : mixed(batch);
  if (labels.type !== 'string' && labels.data.length === elementCount(shape)) {
    return { [LABELS]: { ...labels, dims: shape } };
  }
  throw new CompressionError(
    'DATASET_LABELS',
    `labels of a batch are [${labels.dims.join(', ')}], the loss compares them with [${shape.join(', ')}]; give one label for each value of the model's first output`,
  );
}

/** Float targets, mixed as their samples were. Squares of differences have the same gradient either way. */
function mixed(batch: TrainingBatch): NdArray {
  const { labels, mixed: other } = batch;
  if (labels === undefined) throw new CompressionError('INTERNAL', 'the batch has no labels');
  if (other === undefined || !(labels.data instanceof Float32Array)) return labels;
  const perSample = labels.data.length / (labels.dims[0] ?? 1);
  const data = labels.data.map((own, i) => {
    const share = Number(other.lambda.data[Math.floor(i / perSample)]);
    return share * own + (1 - share) * Number(other.labels.data[i]);
  });
  return { type: 'float', dims: labels.dims, data };
}

export function validationSource(
  source: TrainingSource,
  model: Model,
  training: TrainingField,
  context: Pick<FinetuneContext, 'roles'>,
): FeedSource | undefined {
  if ('fraction' in training.validation) return source.validation(hasFixedBatch(model));
  const { role } = training.validation;
  const feeds = context.roles[role];
  if (feeds !== undefined) return feeds;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `training.validation names the role ${role}, the job has no data for it; give data.${role}, or { "fraction": 0.1 }`,
  );
}

function hasFixedBatch(model: Model): boolean {
  const input = model.graph.inputs.find(({ name }) => !model.graph.initializers.has(name));
  return input?.type?.kind === 'tensor' && typeof input.type.shape?.[0] === 'number';
}

/** Scores a sample of the first output, where its shape tells. */
export function classesOf(model: Model): number | undefined {
  const [output] = model.graph.outputs;
  if (output === undefined) return undefined;
  const shape = inferTypes(model).shape(model.graph, output.name);
  const classes = shape?.[1];
  return shape !== undefined && shape.length >= 2 && typeof classes === 'number' && classes > 1 ? classes : undefined;
}
