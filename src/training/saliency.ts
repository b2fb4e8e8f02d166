import type { Model } from '../onnx/model.ts';
import type { TrainingField } from '../schemas/training.ts';
import {
  firstBatch,
  labelFeeds,
  labelKind,
  openSource,
  trainerSettings,
  trainingGraph,
  type FinetuneContext,
} from './finetune.ts';
import { taskLoss } from './losses/task-loss.ts';
import { optimizerScalars } from './optimizers/optimizers.ts';
import { StepRunner } from './step-runner.ts';

/**
 * |w * dL/dw| of each batch, summed over batches of training data: what the loss would lose without a weight, to first order. Steps are
 * made at learning rate 0, so no weight moves.
 *
 * @param names - initializers
 * @returns by initializer, in its element order
 * @throws CompressionError DATASET_* for data that cannot be trained on; TRAIN_NO_GRADIENT
 */
export async function gradientSaliency(
  model: Model,
  names: readonly string[],
  { training, batches }: { readonly training: TrainingField; readonly batches: number },
  context: FinetuneContext,
): Promise<ReadonlyMap<string, Float64Array>> {
  const source = await openSource(model, training, context);
  try {
    const first = await firstBatch(source);
    const ones = (name: string): Uint8Array =>
      new Uint8Array(model.graph.initializers.get(name)?.elementCount ?? 0).fill(1);
    const graph = trainingGraph(
      model,
      { ...training, accumulate: 1, ema: undefined },
      {
        inputShapes: Object.fromEntries(Object.entries(first.feeds).map(([name, { dims }]) => [name, dims])),
        loss: taskLoss({ ...training, name: training.loss }, labelKind(first)),
        seed: context.seed,
        masks: {
          initial: new Map(names.map((name) => [name, ones(name)])),
          gradient: 'masked',
          score: { kind: 'saliency', decay: 1 },
        },
      },
    );
    const settings = {
      scalars: optimizerScalars(trainerSettings(training).optimizer),
      accumulate: 1,
      averageDecay: undefined,
    };
    const runner = await StepRunner.create(graph, settings, context);
    try {
      let done = 0;
      for await (const batch of source.epoch(0)) {
        context.signal.throwIfAborted();
        const feeds = { ...batch.feeds, ...labelFeeds(batch, graph, training.labelSmoothing) };
        await runner.run(feeds, { updates: done, batchInGroup: 0, learningRate: 0 });
        done += 1;
        context.progress(done / batches, `gradients of batch ${done} of ${batches}`);
        if (done >= batches) break;
      }
      const scores = graph.state.filter(({ kind }) => kind === 'score');
      return new Map(scores.map(({ name, of }) => [of, Float64Array.from(runner.state.values(name))]));
    } finally {
      await runner.release();
    }
  } finally {
    await source.close();
  }
}
