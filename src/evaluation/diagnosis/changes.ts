import type { Finding } from '../../schemas/diagnosis.ts';

/** A step of the recipe with its options as run. */
export interface QuantizingStep {
  readonly pass: string;
  readonly options: Readonly<Record<string, unknown>>;
}

type Change = Finding['changes'][number];

interface Layer {
  readonly name: string;
  readonly opType: string;
  readonly reason: Finding['reason'];
}

/** Options to set for a layer that loses accuracy, the likeliest help first. Those that are set already are left out. */
export function changesFor(layer: Layer, step: QuantizingStep): Change[] {
  const found = [...specific(layer, step), ...exclusion(layer, step)];
  return found.filter(({ options }) => Object.entries(options).some(([name, value]) => step.options[name] !== value));
}

function specific(layer: Layer, { pass, options }: QuantizingStep): Change[] {
  switch (pass) {
    case 'quantize.static':
      return staticChanges(layer, options);
    case 'quantize.dynamic':
      return layer.reason === 'unequal-weight-channels' || layer.reason === 'few-weight-bits'
        ? [{ options: { perChannel: true }, why: 'gives each output channel a scale of its own' }]
        : [];
    case 'quantize.weights':
      return weightOnlyChanges(options);
    default:
      return [];
  }
}

const GPTQ: Change = {
  options: { rounding: 'gptq', biasCorrection: 'full' },
  why: 'moves each rounding error onto the weights still to come',
};
const ADAROUND: Change = {
  options: { rounding: 'adaround', biasCorrection: 'none' },
  why: "learns for each weight whether to round up or down, so that the layer's output stays",
};
const WIDER: Change = {
  options: { activations: 'uint16' },
  why: 'gives activations 65,536 codes; CPUs compute them in float, so the result is slower',
};

function staticChanges({ reason, opType }: Layer, options: QuantizingStep['options']): Change[] {
  const isProduct = opType === 'MatMul' || opType === 'Gemm';
  const smooth: Change[] =
    isProduct && options['smooth'] === undefined
      ? [{ options: { smooth: 0.5 }, why: 'moves outliers of channels into the weights' }]
      : [];
  const equalize: Change = {
    options: { equalize: true },
    why: 'scales channels between layers until their ranges are alike',
  };
  switch (reason) {
    case 'unequal-weight-channels':
      return [{ options: { perChannel: true }, why: 'gives each output channel a scale of its own' }, equalize];
    case 'unequal-weight-inputs':
      return [...(isProduct ? [] : [equalize]), GPTQ, ADAROUND];
    case 'few-weight-bits':
      return [GPTQ, ADAROUND, { options: { weights: 'int8' }, why: 'gives the weights 256 codes' }];
    case 'weight-rounding':
      return [GPTQ, ADAROUND];
    case 'mean-shift':
      return options['biasCorrection'] === 'fast'
        ? [{ options: { biasCorrection: 'full' }, why: 'also takes back what the layers before hand on' }]
        : [{ options: { biasCorrection: 'fast' }, why: 'takes the shift back' }];
    case 'activation-clipped':
      return [
        { options: { method: 'minmax' }, why: 'covers every value of the calibration data; give more of it, too' },
      ];
    case 'activation-outliers':
      return [
        { options: { method: 'mse' }, why: 'cuts outliers off where that lowers the squared error' },
        ...smooth,
        WIDER,
      ];
    case 'unequal-activation-channels':
      return [...smooth, ...(isProduct ? [] : [equalize]), WIDER];
    case 'activation-rounding':
      return [WIDER];
    case 'unknown':
      return [];
  }
}

function weightOnlyChanges(options: QuantizingStep['options']): Change[] {
  const { bits, blockSize, algorithm } = options;
  const learned: Change[] =
    algorithm === 'gptq' || algorithm === 'awq'
      ? []
      : [
          { options: { algorithm: 'gptq' }, why: 'moves rounding errors onto other weights; needs calibration data' },
          ...(algorithm === 'rtn'
            ? [{ options: { algorithm: 'k-quant' }, why: 'searches the scales; needs no data' }]
            : []),
        ];
  return [
    ...learned,
    ...(typeof blockSize === 'number' && blockSize > 16
      ? [{ options: { blockSize: blockSize / 2 }, why: 'lets fewer weights share a scale' }]
      : []),
    ...(typeof bits === 'number' && bits < 8
      ? [{ options: { bits: 2 * bits }, why: 'gives the weights more codes' }]
      : []),
  ];
}

/** Leaving a layer in float always helps; what it costs is its share of speed and size. */
function exclusion({ name }: Layer, { options }: QuantizingStep): Change[] {
  const excluded = options['exclude'];
  if (!Array.isArray(excluded)) return [];
  return [{ options: { exclude: [...(excluded as unknown[]), name] }, why: 'leaves the layer in float' }];
}
