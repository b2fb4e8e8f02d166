import { z } from 'zod';
import { METHODS } from './activation-params.ts';
import type { ActivationType, WeightType } from './quant-type.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);
export const ACTIVATION_TYPES = ['uint8', 'int8', 'uint16', 'int16'] as const satisfies readonly ActivationType[];
export const WEIGHT_TYPES = [
  'int8',
  'uint8',
  'int4',
  'uint4',
  'int2',
  'uint2',
] as const satisfies readonly WeightType[];

const Override = z
  .strictObject({
    min: z.number().optional(),
    max: z.number().optional(),
    type: z.enum(ACTIVATION_TYPES).optional(),
  })
  .refine(({ min, max, type }) => (min === undefined) === (max === undefined) && (min ?? type) !== undefined, {
    message: 'give min and max, or type, or all three',
  });

export const OverridesField = z
  .record(z.string().min(1).max(256), Override)
  .default({})
  .describe(
    'By value name: the range of an activation in place of the observed one, and its type in place of the usual one',
  );

const WeightOverride = z
  .strictObject({
    type: z.enum(WEIGHT_TYPES).optional(),
    symmetric: z.boolean().optional(),
    perChannel: z.boolean().optional(),
    min: z.number().optional(),
    max: z.number().optional(),
  })
  .superRefine((override, context) => {
    const { min, max, perChannel } = override;
    const issue = (message: string): void => context.addIssue({ code: 'custom', message });
    if (Object.values(override).every((field) => field === undefined)) {
      issue('give at least one of type, symmetric, perChannel, or min and max');
    }
    if ((min === undefined) !== (max === undefined)) issue('give both min and max, or neither');
    if (min !== undefined && max !== undefined && !(min <= 0 && max >= 0 && min < max)) {
      issue(`min ${min} and max ${max} must have 0 between them, and min be below max`);
    }
    if (min !== undefined && perChannel === true) issue('a range gives one scale a tensor: leave perChannel out');
  });
export type WeightOverride = z.output<typeof WeightOverride>;

/** Options of quantize.static. */
export const StaticOptions = z.strictObject({
  activations: z.enum(ACTIVATION_TYPES).default('uint8').describe('Integer type of activations'),
  weights: z
    .enum(WEIGHT_TYPES)
    .default('int8')
    .describe(
      'Integer type of weights, symmetric around zero; below 8 bits they are stored packed and computed in float',
    ),
  perChannel: z.boolean().default(true).describe('One weight scale an output channel instead of one a tensor'),
  symmetric: z.boolean().default(false).describe('Activation ranges symmetric around zero'),
  method: z
    .enum([...METHODS, 'learned'])
    .default('minmax')
    .describe(
      'How the range of an activation follows from the calibration data; learned: begins as mse does, then all ranges are trained together so that the outputs come near those in float',
    ),
  percentile: z.number().gt(50).max(100).default(99.999).describe('Percent of the values kept by method percentile'),
  format: z
    .enum(['qdq', 'qoperator'])
    .default('qdq')
    .describe('qdq: float operators between quantizers, which runtimes fuse; qoperator: integer operators'),
  exclude: globs.default([]).describe('Node names or operator types to leave in float; * and ? are wildcards'),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
  placement: z
    .enum(['everywhere', 'layers'])
    .default('everywhere')
    .describe(
      'everywhere: all that has an integer kernel; layers: only convolutions and products of matrices, and sums, factors, pooling and Softmax between them stay in float, as suits transformers',
    ),
  overrides: OverridesField,
  weightOverrides: z
    .record(z.string().min(1).max(256), WeightOverride)
    .default({})
    .describe(
      'Weights that are quantized otherwise, by node name, operator type or name of the initializer (* and ? are wildcards; the first match counts): type, symmetric (false: with a zero point), perChannel, and the range min to max with one scale',
    ),
  equalize: z
    .boolean()
    .default(false)
    .describe('Scale channels between layers so that their ranges become alike; the output in float stays'),
  smooth: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe(
      'SmoothQuant alpha: how much of the outliers of activations moves into the weights of products; absent: none',
    ),
  biasCorrection: z
    .enum(['none', 'fast', 'full'])
    .default('none')
    .describe(
      'Biases take back by what rounding moves the mean of each channel. fast: one run, float inputs; full: layer by layer, on what the quantized layers before give',
    ),
  rounding: z
    .enum(['nearest', 'gptq', 'adaround'])
    .default('nearest')
    .describe(
      'How weights are rounded. gptq: errors move onto the weights still to come; adaround: up or down is learned, layer by layer',
    ),
  iterations: z
    .int()
    .min(100)
    .max(100_000)
    .default(1000)
    .describe('Iterations of rounding adaround for each layer; below 8 bits more may pay'),
  rangeIterations: z.int().min(10).max(100_000).default(300).describe('Iterations of method learned, 32 samples each'),
  accuracy: z
    .enum(['as-given', 'auto'])
    .default('as-given')
    .describe(
      'auto: adds equalization, bias correction, other ranges and learned rounding, the cheapest first, and then leaves layers in float, until the accuracy on the evaluation data is kept',
    ),
  maxAccuracyDrop: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('What accuracy auto may lose, as a share of the samples; absent: what the job allows, else 0.001'),
  powerOfTwoScales: z.boolean().default(false).describe('Every scale a power of two: requantizing is a shift'),
});
export type StaticOptions = z.output<typeof StaticOptions>;
