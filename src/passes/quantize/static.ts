import { opsetOf } from '../../onnx/model.ts';
import { isPackedType } from '../../onnx/packed-integers.ts';
import { layersWithWeights } from '../layers-with-weights.ts';
import { definePass } from '../pass.ts';
import { pointsOf } from './activation-params.ts';
import { quantizeWithin } from './auto.ts';
import { StaticOptions } from './static-options.ts';
import { typesOf } from './static-request.ts';
import { activationSettings, decide, isPrepared, quantizeStatically } from './static-run.ts';

/** Weights and activations in 8 bits, ranges from calibration data. */
export const quantizeStatic = definePass({
  name: 'quantize.static',
  stage: 'quantize',
  description: 'int8 weights and activations with ranges from calibration data',
  papers: [
    {
      title:
        'Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018',
      url: 'https://arxiv.org/abs/1712.05877',
    },
    {
      title: 'Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019',
      url: 'https://arxiv.org/abs/1906.04721',
    },
    {
      title:
        'Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, ICML 2023',
      url: 'https://arxiv.org/abs/2211.10438',
    },
    {
      title: 'Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020',
      url: 'https://arxiv.org/abs/2004.10568',
    },
    {
      title:
        'Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023',
      url: 'https://arxiv.org/abs/2210.17323',
    },
  ],
  options: StaticOptions,
  example: { method: 'minmax', perChannel: true },
  makesInt8: ({ weights, activations }) => !isPackedType(weights) && !activations.endsWith('16'),
  needs: ({ accuracy }) => (accuracy === 'auto' ? ['calibration', 'evaluation'] : ['calibration']),
  layers: (model, options) => layersWithWeights(model, options),
  requires(model, options) {
    const types = typesOf({ options });
    const activations = [...types.activations];
    const weights = [...types.weights];
    if (options.format === 'qoperator' && activations.some((type) => type.endsWith('16'))) {
      return 'integer operators take 8-bit activations only; use format qdq for 16 bits';
    }
    if (activations.some((type) => type.startsWith('u') !== options.activations.startsWith('u'))) {
      return `activations are ${options.activations}, and overrides name ${activations.slice(1).join(', ')}: all must be signed, or none`;
    }
    if (options.activations === 'int8' && weights.includes('uint8')) {
      return 'int8 activations with uint8 weights have no kernel; use uint8 activations or int8 weights';
    }
    if (options.format === 'qoperator' && weights.some(isPackedType)) {
      return `integer operators take 8-bit weights only; use format qdq for ${weights.filter(isPackedType).join(' and ')}`;
    }
    if (options.rounding === 'adaround' && options.biasCorrection !== 'none') {
      return 'adaround fits the outputs, means included, so biasCorrection would correct it twice; leave one of them out';
    }
    if (options.method === 'learned' && options.powerOfTwoScales) {
      return 'learned ranges give scales that are no powers of two; use another method';
    }
    const opset = opsetOf(model);
    if (opset >= 13) return undefined;
    return `quantizers need opset 13, the model has ${opset}; run canonicalize first, which raises it`;
  },
  observe(model, options, context) {
    // A model that is rewritten first is observed as it then is, by `run`.
    if (isPrepared(model, { options }) || options.accuracy === 'auto') return [];
    const { plan, view } = decide(model, { options }, context);
    return pointsOf(plan, view, activationSettings(options));
  },
  run(model, options, context) {
    if (options.accuracy === 'as-given') return quantizeStatically(model, { options }, context);
    return quantizeWithin(
      model,
      {
        maxDrop: options.maxAccuracyDrop ?? context.constraints?.maxAccuracyDrop ?? MAX_ACCURACY_DROP,
        allows: ({ method }) => method !== 'learned' || !options.powerOfTwoScales,
        quantize: (candidate, added, inFloat) =>
          quantizeStatically(candidate, { options: { ...options, ...added }, inFloat }, context),
        // Loaded where models run: the HTTP side lists passes, and never loads the engine.
        layersByHarm: async (float) =>
          context.targetCpu === 'int8-only'
            ? []
            : (await import('./layers-by-harm.ts')).layersByHarm(float, options, context),
      },
      context,
    );
  },
  ensures: () => undefined,
});

/** What accuracy "auto" may lose where neither options nor job say: a tenth of a point. */
const MAX_ACCURACY_DROP = 0.001;
