import { opsetOf } from '../../../onnx/model.ts';
import { definePass } from '../../pass.ts';
import { MixedOptions } from './options.ts';
import { countedCosts } from './counted-costs.ts';
import { exactChoice, layerNames, quantizeMixed as run } from './run-mixed.ts';

/** A type of its own for each layer, chosen by what it costs in accuracy. */
export const quantizeMixed = definePass({
  name: 'quantize.mixed',
  stage: 'quantize',
  description:
    'Chooses int8, int4 or int2 (or wider types) for each layer: the least loss of accuracy within a budget of bytes, bit operations or latency',
  papers: [
    {
      title: 'Dong et al., HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks, NeurIPS 2020',
      url: 'https://arxiv.org/abs/1911.03852',
    },
    {
      title: 'Yao et al., HAWQ-V3: Dyadic Neural Network Quantization (exact choice under a budget), ICML 2021',
      url: 'https://arxiv.org/abs/2011.10680',
    },
    {
      title: 'Pandey et al., A Practical Mixed Precision Algorithm for Post-Training Quantization (SQNR), 2023',
      url: 'https://arxiv.org/abs/2302.05397',
    },
    {
      title: 'Sinha and Zoltners, The Multiple-Choice Knapsack Problem, Operations Research 1979',
      url: 'https://doi.org/10.1287/opre.27.3.503',
    },
  ],
  options: MixedOptions,
  example: { budget: { averageBits: 4 } },
  // hawq looks at gradients; nothing is trained.
  keepsNormalization: () => false,
  needs: ({ sensitivity, maxAccuracyDrop }) => [
    'calibration',
    ...(sensitivity === 'hawq' ? (['training'] as const) : []),
    ...(maxAccuracyDrop === undefined ? [] : (['evaluation'] as const)),
  ],
  requires(model, { rounding, biasCorrection }) {
    if (rounding === 'adaround' && biasCorrection !== 'none') {
      return 'adaround fits the outputs, means included, so biasCorrection would correct it twice; leave one of them out';
    }
    const opset = opsetOf(model);
    if (opset >= 13) return undefined;
    return `quantizers need opset 13, the model has ${opset}; run canonicalize first, which raises it`;
  },
  layers: layerNames,
  costs: countedCosts,
  suggest: (model, options, context, limits) => exactChoice(model, { options, limits }, context),
  run,
  ensures: () => undefined,
});
