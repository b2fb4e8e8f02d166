import type { Model } from '../onnx/model.ts';
import { TrainingField } from '../schemas/training.ts';
import { firstBatch, labelFeeds, labelKind, openSource, trainingGraph, type FinetuneContext } from './finetune.ts';
import { taskLoss } from './losses/task-loss.ts';
import { optimizerScalars } from './optimizers/optimizers.ts';
import { StepRunner } from './step-runner.ts';
import type { StateKind } from './training-state.ts';
import type { WeightScore } from './weight-masks.ts';

/** What gradients are taken on. */
export interface GradientProbe {
  /** Loss, batch size, augmentation. */
  readonly training: TrainingField;
  /** Batches of training data, as far as one epoch has them. */
  readonly batches: number;
}

/** Numbers by initializer, in its element order. */
type ByWeight<Numbers> = ReadonlyMap<string, Numbers>;

/**
 * |w * dL/dw| of each batch, summed over batches of training data: what the loss would lose without a weight, to first order.
 *
 * @param names - initializers
 * @throws CompressionError DATASET_* for data that cannot be trained on; TRAIN_NO_GRADIENT
 */
export async function gradientSaliency(
  model: Model,
  names: readonly string[],
  { training, batches }: GradientProbe,
  context: FinetuneContext,
): Promise<ByWeight<Float64Array>> {
  let sums: ByWeight<Float32Array> = new Map();
  const probe = { training, batches, score: { kind: 'saliency', decay: 1 } } as const;
  await probeGradients(model, names, probe, { ...context, read: (scores) => (sums = scores) });
  return new Map([...sums].map(([name, values]) => [name, Float64Array.from(values)]));
}

/**
 * w * dL/dw of each batch, with the sign, of the network as it is used: normalization by running statistics.
 *
 * @param context.read - gets the products after each batch; they are overwritten by the next
 * @returns number of batches
 * @throws as `gradientSaliency`
 */
export function gradientProducts(
  model: Model,
  names: readonly string[],
  { training, batches }: GradientProbe,
  context: FinetuneContext & { readonly read: (products: ByWeight<Float32Array>) => void },
): Promise<number> {
  return probeGradients(model, names, { training: asUsed(training), batches, score: { kind: 'product' } }, context);
}

/**
 * w² E[(dL/dw)²] over the samples of these batches, one by one: a gradient of a batch is a mean, in which what samples disagree
 * on cancels out. Of the network as it is used. The time is that of so many single samples.
 *
 * @throws as `gradientSaliency`
 */
export async function squaredGradientProducts(
  model: Model,
  names: readonly string[],
  { training, batches }: GradientProbe,
  context: FinetuneContext,
): Promise<ByWeight<Float64Array>> {
  let sums: ByWeight<Float32Array> = new Map();
  const probe = {
    training: asUsed({ ...training, batchSize: 1 }),
    batches: batches * training.batchSize,
    score: { kind: 'square' },
  } as const;
  const samples = await probeGradients(model, names, probe, { ...context, read: (scores) => (sums = scores) });
  return new Map([...sums].map(([name, values]) => [name, Float64Array.from(values, (sum) => sum / samples)]));
}

/** The network as it is used; every parameter has a gradient, also one that a later training leaves alone. */
export function asUsed(training: TrainingField): TrainingField {
  return { ...training, batchNormalization: 'frozen', trainable: undefined, frozen: undefined };
}

const PLAIN_DESCENT = TrainingField.parse({ optimizer: { name: 'sgd', momentum: 0, weightDecay: 0 } }).optimizer;

/**
 * Runs steps at learning rate 0, so that no weight moves.
 *
 * @returns number of batches
 */
function probeGradients(
  model: Model,
  names: readonly string[],
  probe: ScoreProbe,
  context: FinetuneContext & { readonly read: (scores: ByWeight<Float32Array>) => void },
): Promise<number> {
  return probeBatches(model, names, probe, {
    ...context,
    visit: async ({ run, scores }) => {
      await run();
      context.read(scores());
    },
  });
}

export type ScoreProbe = GradientProbe & { readonly score: WeightScore };

/** One batch of a probe. */
export interface ProbedBatch {
  /** Forward and backward with the weights as they are now. */
  readonly run: () => Promise<unknown>;
  /** What the last run left, by initializer; overwritten by the next. */
  readonly scores: () => ByWeight<Float32Array>;
  /** Gives a weight other values from the next run on. */
  readonly load: (name: string, values: Float32Array) => void;
}

/**
 * Opens the training data, builds a graph that keeps a score of each weight, and visits batch after batch. No weight is trained.
 *
 * @returns number of batches
 */
export async function probeBatches(
  model: Model,
  names: readonly string[],
  { training, batches, score }: ScoreProbe,
  context: FinetuneContext & { readonly visit: (batch: ProbedBatch) => Promise<void> },
): Promise<number> {
  const source = await openSource(model, training, context);
  try {
    const first = await firstBatch(source);
    const ones = (name: string): Uint8Array =>
      new Uint8Array(model.graph.initializers.get(name)?.elementCount ?? 0).fill(1);
    const graph = trainingGraph(
      model,
      { ...training, optimizer: PLAIN_DESCENT, clipNorm: undefined, accumulate: 1, ema: undefined },
      {
        inputShapes: Object.fromEntries(Object.entries(first.feeds).map(([name, { dims }]) => [name, dims])),
        loss: taskLoss({ ...training, name: training.loss }, labelKind(first)),
        seed: context.seed,
        masks: { initial: new Map(names.map((name) => [name, ones(name)])), gradient: 'masked', score },
      },
    );
    const settings = { scalars: optimizerScalars(PLAIN_DESCENT), accumulate: 1, averageDecay: undefined };
    const runner = await StepRunner.create(graph, settings, context);
    try {
      const ofKind = (wanted: StateKind): ReadonlyMap<string, string> =>
        new Map(graph.state.filter(({ kind }) => kind === wanted).map(({ of, name }) => [of, name]));
      const [scores, parameters] = [ofKind('score'), ofKind('parameter')];
      let done = 0;
      for await (const batch of source.epoch(0)) {
        context.signal.throwIfAborted();
        const feeds = { ...batch.feeds, ...labelFeeds(batch, graph, training.labelSmoothing) };
        const at = { updates: done, batchInGroup: 0, learningRate: 0 };
        await context.visit({
          run: () => runner.run(feeds, at),
          scores: () => new Map([...scores].map(([of, name]) => [of, runner.state.values(name)])),
          load: (of, values) => runner.state.load(parameters.get(of) ?? of, values),
        });
        done += 1;
        context.progress(Math.min(1, done / batches), `gradients of batch ${done} of ${batches}`);
        if (done >= batches) break;
      }
      return done;
    } finally {
      await runner.release();
    }
  } finally {
    await source.close();
  }
}
