import type { DiagnosedLayer, Diagnosis, Finding } from '../../../src/schemas/diagnosis.ts';
import type { StepReport } from '../../../src/schemas/report.ts';

const layer = (name: string, fields: Partial<DiagnosedLayer> = {}): DiagnosedLayer => ({
  name,
  opType: 'Conv',
  output: `${name}_out`,
  accumulatedSqnrDb: 12,
  ownSqnrDb: 20,
  modelSqnrDb: 15,
  noiseShare: 0.3,
  parts: { weightsSqnrDb: 21, inputSqnrDb: 30, outputSqnrDb: 31 },
  meanShiftShare: 0.1,
  weights: { bits: 8, scales: 1, channelRatio: 40, inputRatio: 2 },
  input: {
    type: 'uint8',
    bits: 8,
    range: { min: 0, max: 2 },
    quantizedRange: { min: 0, max: 2 },
    percentile999: 1.5,
    outlierRatio: 1.3,
    saturatedShare: 0.001,
    clipNoiseShare: 0,
    channelRatio: 3,
  },
  ...fields,
});

const finding = (name: string, fields: Partial<Finding> = {}): Finding => ({
  layer: name,
  noiseShare: 0.3,
  reason: 'unequal-weight-channels',
  explanation: 'One scale serves all channels.',
  changes: [
    { options: { perChannel: true }, why: 'gives each channel a scale' },
    { options: { exclude: [name] }, why: 'leaves the layer in float' },
  ],
  ...fields,
});

/** Two layers that make most of the noise, named `worst` and `next`, and one that is exact. */
export const diagnosis = (
  fields: Partial<Diagnosis> = {},
  [worst, next]: readonly [string, string] = ['worst', 'next'],
): Diagnosis => ({
  data: 'evaluation',
  samples: 32,
  outputSamples: 16,
  rewritten: false,
  modelSqnrDb: 12,
  layers: [
    layer(worst),
    layer(next, { noiseShare: 0.2 }),
    { name: 'exact', opType: 'Add', output: 'exact_out', ownSqnrDb: null, accumulatedSqnrDb: 11, parts: {} },
  ],
  findings: [finding(worst), finding(next, { noiseShare: 0.2 })],
  inFloat: [
    { layers: [worst], modelSqnrDb: 18 },
    { layers: [worst, next], modelSqnrDb: 19 },
  ],
  notMeasured: [],
  ...fields,
});

export const step = (found: Diagnosis, options: Record<string, unknown> = {}): StepReport => ({
  index: 1,
  pass: 'quantize.static',
  options: { weights: 'int8', perChannel: false, exclude: ['first'], accuracy: 'as-given', ...options },
  seconds: 1,
  changed: 5,
  skipped: [],
  warnings: [],
  diagnosis: found,
  details: {},
});
