/** A recipe with a name. Pure data: the steps are checked like those of any client. */
export interface Preset {
  readonly name: string;
  readonly description: string;
  readonly steps: readonly Readonly<{ pass: string } & Record<string, unknown>>[];
}

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
    name: 'int8-mse',
    description:
      'Like int8, with the range of each activation that has the least squared error: for outliers, where the smallest and largest value cost accuracy.',
    steps: [{ pass: 'quantize.static', method: 'mse' }],
  },
  {
    name: 'int4-weights',
    description:
      'Weights of products and embeddings in 4 bits, blocks of 32, activations in float. Needs no data. For transformers, whose weights are most of what is read for each token; convolutions stay as they are.',
    steps: [{ pass: 'quantize.weights' }],
  },
] as const satisfies readonly Preset[];

export type PresetName = (typeof PRESETS)[number]['name'];

export const PRESET_NAMES = PRESETS.map((preset) => preset.name);

export function presetNamed(name: string): Preset | undefined {
  return PRESETS.find((preset) => preset.name === name);
}
