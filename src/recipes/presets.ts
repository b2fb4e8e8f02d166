/** A recipe with a name. Pure data: the steps are checked like those of any client. */
export interface Preset {
  readonly name: string;
  readonly description: string;
  /** What the job's `target.cpu` becomes where it is the default. */
  readonly targetCpu?: 'int8-only';
  readonly steps: readonly Readonly<{ pass: string } & Record<string, unknown>>[];
}

/** How weights are zeroed along the cubic curve: masks settle after 7 of the 10 epochs, the rest recovers. */
const GRADUAL = {
  pass: 'prune.unstructured',
  method: 'lamp',
  schedule: 'gradual',
  training: { epochs: 10, learningRate: 0.02, optimizer: { name: 'sgd', momentum: 0.9, nesterov: true } },
} as const;

/** The same training, for the channels that are left. */
const FINETUNE = { pass: 'train.finetune', training: GRADUAL.training } as const;

/** Every preset, in the order /v1/presets lists them. */
export const PRESETS = [
  {
    name: 'int8-dynamic',
    description:
      'Weights to int8 now, activations to uint8 while running. Needs no data. Best for transformers and recurrent networks; convolutions gain little.',
    steps: [{ pass: 'quantize.dynamic' }],
  },
  {
    name: 'int8',
    description:
      'Weights and activations to 8 bits with ranges from calibration data (smallest and largest value), one weight scale an output channel, exact on every CPU. The usual choice for convolutional networks.',
    steps: [{ pass: 'quantize.static' }],
  },
  {
    name: 'int8-accurate',
    description:
      'Like int8, and adds repairs (bias correction, equalization, other ranges, learned rounding), the cheapest first, until the accuracy on the evaluation data drops by no more than the job allows, else by 0.1 points. Takes minutes where much is needed.',
    steps: [{ pass: 'quantize.static', accuracy: 'auto' }],
  },
  {
    name: 'int8-mse',
    description:
      'Like int8, with the range of each activation that has the least squared error: for outliers, where the smallest and largest value cost accuracy.',
    steps: [{ pass: 'quantize.static', method: 'mse' }],
  },
  {
    name: 'int8-mobile',
    description:
      'For MobileNets and other depthwise networks: like int8, with channels equalized between layers, ranges of least squared error, and biases that take back what the quantized layers before change.',
    steps: [{ pass: 'quantize.static', method: 'mse', equalize: true, biasCorrection: 'full' }],
  },
  {
    name: 'int8-transformer',
    description:
      'Convolutions and products of matrices in 8 bits, attention included; sums, normalization and Softmax between them stay in float, and outliers of activations move into weights. For transformers, with calibration data.',
    steps: [{ pass: 'quantize.static', placement: 'layers', smooth: 0.5, biasCorrection: 'fast' }],
  },
  {
    name: 'int8-only-hardware',
    description:
      'For accelerators without floating point: int8 weights and activations, symmetric, every scale a power of two, channels equalized, biases corrected. Made for target int8-only, which it sets; what would still compute in float is listed and misses the limit.',
    targetCpu: 'int8-only',
    steps: [
      {
        pass: 'quantize.static',
        activations: 'int8',
        symmetric: true,
        powerOfTwoScales: true,
        method: 'mse',
        equalize: true,
        biasCorrection: 'fast',
      },
    ],
  },
  {
    name: 'int4-weights',
    description:
      'Weights of products and embeddings in 4 bits, blocks of 32, activations in float. Needs no data. For transformers, whose weights are most of what is read for each token; convolutions stay as they are.',
    steps: [{ pass: 'quantize.weights' }],
  },
  {
    name: 'prune-half-macs',
    description:
      'Takes channels out until half of the multiply-accumulates are left, fits the weights behind them to the calibration data, and trains for 10 epochs. A smaller file, and less time where the widths suit the CPU.',
    steps: [
      { pass: 'prune.channels', macsRatio: 0.5, recover: 'least-squares', restoreBatchNormalization: true },
      FINETUNE,
    ],
  },
  {
    name: 'prune-2x-faster',
    description:
      'Takes channels out until the estimated time of one sample is half, by the kernel cost table of the worker, fits the weights behind them to the calibration data, and trains for 10 epochs. Small networks give up far more than half of their work for it.',
    steps: [
      { pass: 'prune.channels', latencyRatio: 0.5, recover: 'least-squares', restoreBatchNormalization: true },
      FINETUNE,
    ],
  },
  {
    name: 'sparse-80',
    description:
      'Zeroes 80 % of the weights of convolutions and products while the model trains for 10 epochs, and hands out the file in a sparse format too (sparse.tersors). For storage, transport and sparse runtimes: no gain in speed on CPU.',
    // Half at once costs hardly anything, and leaves more of the training to what stays.
    steps: [
      { ...GRADUAL, schedule: { name: 'gradual', initialSparsity: 0.5, to: 0.35 }, sparsity: 0.8, sidecar: true },
    ],
  },
  {
    name: 'deep-compression',
    description:
      'Deep Compression: zeroes 85 % of the weights over 10 epochs of training, shares what is left among 32 trained values a tensor, and entropy-codes them into a file 15 to 30 times smaller (clustered.tersorc), from which the client restores model.onnx. Speed stays.',
    steps: [
      { ...GRADUAL, sparsity: 0.85 },
      {
        pass: 'cluster.weights',
        bits: 5,
        finetune: true,
        training: { epochs: 3, optimizer: 'adam' },
        entropyCode: true,
      },
    ],
  },
  {
    name: 'qat-int4',
    description:
      'Weights and activations to 4 bits, trained with their quantizers in place (first and last layer 8 bits), taught by the model as it came. An eighth of the size; for accelerators with 4-bit kernels: CPUs have none.',
    steps: [{ pass: 'quantize.aware', weights: 4, activations: 4 }],
  },
  {
    name: 'binary',
    description:
      'Weights to one bit each, trained (first and last layer stay float), taught by the model as it came. The file of the binary layers is 1/32; memory and speed stay those of float.',
    steps: [{ pass: 'quantize.binary', training: { epochs: 20, learningRate: 0.05 } }],
  },
] as const satisfies readonly Preset[];

export type PresetName = (typeof PRESETS)[number]['name'];

export const PRESET_NAMES = PRESETS.map((preset) => preset.name);

export function presetNamed(name: string): Preset | undefined {
  return PRESETS.find((preset) => preset.name === name);
}
