import { opsetOf } from '../../../onnx/model.ts';
import { layersWithWeights } from '../../layers-with-weights.ts';
import { definePass } from '../../pass.ts';
import { WeightsOptions } from './options.ts';
import { quantizeModel } from './quantize-model.ts';

/** Weights in 8, 4 or 2 bits, in blocks with a scale each; activations stay in float. */
export const quantizeWeights = definePass({
  name: 'quantize.weights',
  stage: 'quantize',
  description: 'Weights alone in 8, 4 or 2 bits, in blocks with a scale each; activations stay in float',
  papers: [
    {
      title:
        'Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023',
      url: 'https://arxiv.org/abs/2210.17323',
    },
    {
      title: 'Lin et al., AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration, MLSys 2024',
      url: 'https://arxiv.org/abs/2306.00978',
    },
    {
      title: 'Badri & Shaji, Half-Quadratic Quantization of Large Machine Learning Models, 2023',
      url: 'https://mobiusml.github.io/hqq_blog/',
    },
  ],
  options: WeightsOptions,
  example: { bits: 4, blockSize: 32 },
  needs: ({ algorithm }) => (algorithm === 'gptq' || algorithm === 'awq' ? ['calibration'] : []),
  layers: (model, options) => layersWithWeights(model, options),
  requires(model, { format, bits, algorithm, symmetric }) {
    if (algorithm === 'hqq' && symmetric) {
      return 'hqq looks for zero points, and symmetric codes have none; set symmetric to false, or take k-quant';
    }
    const needed = format === 'qdq' ? (bits === 2 ? 25 : 21) : 1;
    const opset = opsetOf(model);
    if (opset >= needed) return undefined;
    return `format qdq with ${bits} bits needs opset ${needed}, the model has ${opset}; put { "pass": "canonicalize", "opset": ${needed} } ahead, or use format matmulnbits`;
  },
  run: quantizeModel,
  ensures: () => undefined,
});
