import { z } from 'zod';

/** What a quantizing step did to the model, layer by layer: part of its step report. */

const Count = z.number().int().min(0);
const Share = z.number().min(0).max(1);
const Decibels = z.number().nullable();
const Range = z.object({ min: z.number(), max: z.number() });

export const ValueDiagnosis = z.object({
  type: z.string(),
  bits: z.number(),
  range: Range.describe('Values in float'),
  quantizedRange: Range.describe('What the quantized type can hold'),
  percentile999: z.number().describe('Magnitude that 99.9 % of the values stay below'),
  outlierRatio: z
    .number()
    .optional()
    .describe(
      'Reach of the quantized range over percentile999: 4 means that three quarters of it serve 0.1 % of the values',
    ),
  saturatedShare: Share.describe('Values clipped to an end of the quantized range'),
  clipNoiseShare: Share.describe('Share of the squared error that clipping makes, the rest is rounding'),
  channelRatio: z.number().optional().describe('Reach of the largest channel over that of the median one'),
});
export type ValueDiagnosis = z.infer<typeof ValueDiagnosis>;

export const DiagnosedLayer = z.object({
  name: z.string(),
  opType: z.string(),
  output: z.string(),
  accumulatedSqnrDb: Decibels.optional().describe(
    'Output against float, errors of earlier layers included; null: identical',
  ),
  ownSqnrDb: Decibels.optional().describe('Output when only this layer is quantized, on float inputs; null: identical'),
  parts: z
    .object({
      weightsSqnrDb: Decibels.optional(),
      inputSqnrDb: Decibels.optional(),
      outputSqnrDb: Decibels.optional(),
    })
    .describe('The own error taken apart: only the weights in codes, only the inputs rounded, only the output rounded'),
  meanShiftShare: Share.optional().describe("Share of the own squared error that is a shift of the channels' means"),
  modelSqnrDb: Decibels.optional().describe("The model's outputs when only this layer is quantized"),
  noiseShare: Share.optional().describe("Share of the noise at the model's outputs that the layers make one by one"),
  weights: z
    .object({
      bits: z.number(),
      scales: Count.describe('1: one scale for the tensor'),
      channelRatio: z
        .number()
        .optional()
        .describe('Largest weight of the largest output channel over that of the median one'),
      inputRatio: z.number().optional().describe('The same of input channels, which share the scales'),
    })
    .optional(),
  input: ValueDiagnosis.optional().describe('The input that is rounded worst'),
  outputValue: ValueDiagnosis.optional(),
  note: z.string().optional(),
});
export type DiagnosedLayer = z.infer<typeof DiagnosedLayer>;

export const DIAGNOSIS_REASONS = [
  'unequal-weight-channels',
  'unequal-weight-inputs',
  'few-weight-bits',
  'weight-rounding',
  'mean-shift',
  'activation-clipped',
  'activation-outliers',
  'unequal-activation-channels',
  'activation-rounding',
  'unknown',
] as const;

export const Finding = z.object({
  layer: z.string(),
  noiseShare: Share,
  reason: z.enum(DIAGNOSIS_REASONS),
  explanation: z.string(),
  changes: z
    .array(z.object({ options: z.record(z.string(), z.unknown()), why: z.string() }))
    .describe('Options of the step to set, the likeliest help first'),
});
export type Finding = z.infer<typeof Finding>;

export const Diagnosis = z.object({
  rewritten: z
    .boolean()
    .describe(
      'The step rewrote the model in float before it quantized it (channels scaled, say): layers are held against that one',
    ),
  data: z.enum(['evaluation', 'calibration', 'generated']),
  samples: Count.describe('For the errors of the layers'),
  outputSamples: Count.describe("For the noise at the model's outputs"),
  modelSqnrDb: Decibels.optional().describe("The model's outputs with every layer quantized; null: identical"),
  layers: z.array(DiagnosedLayer),
  findings: z.array(Finding).describe('Layers that lose the most, the worst first'),
  inFloat: z
    .array(z.object({ layers: z.array(z.string()), modelSqnrDb: Decibels }))
    .describe("Measured: the model's outputs with the worst layers left in float, one after the other"),
  notMeasured: z.array(z.object({ name: z.string(), reason: z.string() })),
});
export type Diagnosis = z.infer<typeof Diagnosis>;
