import { parametersOf } from '../../../training/parameters.ts';
import { opsetOf } from '../../../onnx/model.ts';
import { distillationModels } from '../../distillation-field.ts';
import { layersWithWeights } from '../../layers-with-weights.ts';
import { definePass } from '../../pass.ts';
import { planAware } from './aware-plan.ts';
import { AwareOptions } from './options.ts';
import { pointsOfAware } from './start-quantizers.ts';

/** Weights and activations in 8 to 2 bits, trained with their quantizers in place. */
export const quantizeAware = definePass({
  name: 'quantize.aware',
  stage: 'quantize',
  description:
    'Trains the model with its quantizers in place, at 8 to 2 bits, and writes it in integers: keeps accuracy where rounding after training loses it',
  papers: [
    { title: 'Esser et al., Learned Step Size Quantization, ICLR 2020', url: 'https://arxiv.org/abs/1902.08153' },
    {
      title: 'Bhalgat et al., LSQ+: Improving low-bit quantization through learnable offsets, CVPR Workshops 2020',
      url: 'https://arxiv.org/abs/2004.09576',
    },
    {
      title: 'Choi et al., PACT: Parameterized Clipping Activation for Quantized Neural Networks, 2018',
      url: 'https://arxiv.org/abs/1805.06085',
    },
    {
      title: 'Liu et al., ParetoQ: Improving Scaling Laws in Extremely Low-bit LLM Quantization, NeurIPS 2025',
      url: 'https://arxiv.org/abs/2502.02631',
    },
    {
      title:
        'Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018',
      url: 'https://arxiv.org/abs/1712.05877',
    },
  ],
  options: AwareOptions,
  example: { weights: 4, activations: 4, training: { epochs: 10, batchSize: 128, learningRate: 0.01 } },
  // Weights of more than 4 bits have a byte each.
  makesInt8: ({ storage, weights }) => storage === 'int8' || weights > 4,
  needs: ({ training }) =>
    'role' in training.validation && training.validation.role !== 'calibration'
      ? ['training', 'calibration', training.validation.role]
      : ['training', 'calibration'],
  models: distillationModels,
  layers: (model, options) => layersWithWeights(model, options),
  requires(model) {
    if (parametersOf(model).length === 0) {
      return 'the model has no float weights to train; quantized weights cannot be trained';
    }
    const opset = opsetOf(model);
    if (opset >= NEEDED_OPSET) return undefined;
    return `quantizers need opset ${NEEDED_OPSET}, the model has ${opset}; run canonicalize first, which raises it`;
  },
  observe: (model, options) => pointsOfAware(planAware(model, options)),
  async run(model, options, context) {
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const { runAware } = await import('./run-aware.ts');
    return runAware(model, options, context);
  },
  ensures: () => undefined,
});

/** First opset with one scale a channel. */
const NEEDED_OPSET = 13;
