import { z } from 'zod';
import { TrainingField } from '../../schemas/training.ts';
import { parametersOf, separateVectors } from '../../training/parameters.ts';
import type { TrainingBatch } from '../../data/training/training-batch.ts';
import type { TrainingSource } from '../../data/training/training-source.ts';
import type { Model } from '../../onnx/model.ts';
import type { FinetuneContext } from '../../training/finetune.ts';
import { finetuneContext } from '../finetune-context.ts';
import { definePass } from '../pass.ts';

const Options = z.strictObject({
  training: TrainingField.prefault({}).describe('Epochs, batch size, optimizer, learning rate, loss, augmentation'),
  restoreBatchNormalization: z
    .boolean()
    .default(false)
    .describe(
      'Puts BatchNormalization back behind convolutions with a bias, from statistics measured on the training data: the function stays the same, a model whose normalization was folded trains as before that',
    ),
});

/** Samples that statistics are measured on, where there are as many. */
const STATISTICS_SAMPLES = 4096;

/** Trains the model's weights on labelled data, from the ONNX graph alone. */
export const trainFinetune = definePass({
  name: 'train.finetune',
  stage: 'distill',
  description: 'Trains the weights on labelled data: recovers accuracy after pruning, adapts a model to new data',
  papers: [
    {
      title: 'Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013',
      url: 'https://proceedings.mlr.press/v28/sutskever13.html',
    },
  ],
  options: Options,
  example: { training: { epochs: 2, batchSize: 64, learningRate: 0.01 } },
  needs: ({ training }) => ('role' in training.validation ? ['training', training.validation.role] : ['training']),
  requires(model) {
    if (parametersOf(model).length > 0) return undefined;
    return 'the model has no float weights to train; train before quantizing';
  },
  async run(model, { training, restoreBatchNormalization }, context) {
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const [{ finetune }, { applyTrained }, { runReport }, { keptZeros }] = await Promise.all([
      import('../../training/finetune.ts'),
      import('../../training/trained-values.ts'),
      import('../../training/run-report.ts'),
      import('../../training/weight-masks.ts'),
    ]);
    separateVectors(model.graph);
    const trainingContext = finetuneContext(context);
    const restored = restoreBatchNormalization ? await restore(model, training, trainingContext) : undefined;
    const { outcome, graph, warnings } = await finetune(model, training, trainingContext);
    const changes = applyTrained(model, outcome.values);
    return {
      changes: changes + (restored ?? 0),
      skipped: graph.untouched.map((node) => ({ node, reason: 'the loss does not depend on it' })),
      warnings,
      training: [runReport('model', outcome)],
      details: {
        ...(restored === undefined ? {} : { restoredBatchNormalizations: restored }),
        trainedParameters: graph.state
          .filter(({ kind }) => kind === 'parameter')
          .reduce((sum, { dims }) => sum + dims.reduce((product, size) => product * size, 1), 0),
        keptZeros: keptZeros(graph.state),
      },
    };
  },
  ensures: () => undefined,
});

/** @returns how many were put in */
async function restore(model: Model, training: TrainingField, context: FinetuneContext): Promise<number> {
  const [{ openSource }, { restoreBatchNormalization }] = await Promise.all([
    import('../../training/finetune.ts'),
    import('../../training/restore-batch-normalization.ts'),
  ]);
  const { runtime, threads, signal } = context;
  context.progress(0, 'measuring statistics of the convolutions');
  const source = await openSource(model, training, context);
  try {
    return await restoreBatchNormalization(model, { runtime, threads, signal, batches: firstSamples(source) });
  } finally {
    await source.close();
  }
}

async function* firstSamples(source: TrainingSource): AsyncGenerator<TrainingBatch> {
  let samples = 0;
  for await (const batch of source.epoch(0)) {
    yield batch;
    samples += batch.count;
    if (samples >= STATISTICS_SAMPLES) return;
  }
}
