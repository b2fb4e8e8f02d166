import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import { TrainingField } from '../../schemas/training.ts';
import { parametersOf, separateVectors } from '../../training/parameters.ts';
import { definePass } from '../pass.ts';

const Options = z.strictObject({
  training: TrainingField.prefault({}).describe('Epochs, batch size, optimizer, learning rate, loss, augmentation'),
});

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
  async run(model, { training }, context) {
    const { openTraining } = context;
    if (openTraining === undefined) throw new CompressionError('INTERNAL', 'the training data cannot be opened');
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const [{ finetune }, { applyTrained }, { runReport }] = await Promise.all([
      import('../../training/finetune.ts'),
      import('../../training/trained-values.ts'),
      import('../../training/run-report.ts'),
    ]);
    separateVectors(model.graph);
    const { calibration, evaluation } = context.data;
    const { outcome, graph, warnings } = await finetune(model, training, {
      runtime: context.runtime,
      threads: context.threads,
      seed: context.seed,
      signal: context.signal,
      openTraining,
      roles: { ...(calibration && { calibration }), ...(evaluation && { evaluation }) },
      progress: (fraction, message) => context.progress(fraction, message),
      checkpoint: context.checkpoint,
    });
    const changes = applyTrained(model, outcome.values);
    return {
      changes,
      skipped: graph.untouched.map((node) => ({ node, reason: 'the loss does not depend on it' })),
      warnings,
      training: [runReport('model', outcome)],
      details: {
        trainedParameters: graph.state
          .filter(({ kind }) => kind === 'parameter')
          .reduce((sum, { dims }) => sum + dims.reduce((product, size) => product * size, 1), 0),
      },
    };
  },
  ensures: () => undefined,
});
