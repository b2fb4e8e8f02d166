import { z } from 'zod';
import { TrainingField } from '../../schemas/training.ts';
import { parametersOf, separateVectors } from '../../training/parameters.ts';
import { finetuneContext } from '../finetune-context.ts';
import { definePass } from '../pass.ts';
import { RestoreField, restoreNormalization } from '../restore-normalization.ts';

const Options = z.strictObject({
  training: TrainingField.prefault({}).describe('Epochs, batch size, optimizer, learning rate, loss, augmentation'),
  restoreBatchNormalization: RestoreField,
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
    const restored = restoreBatchNormalization
      ? await restoreNormalization(model, training, trainingContext)
      : undefined;
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
