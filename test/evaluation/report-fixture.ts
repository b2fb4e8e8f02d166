import type { ReportFacts } from '../../src/evaluation/build-report.ts';
import { describeEnvironment } from '../../src/evaluation/environment.ts';
import type { Evaluation } from '../../src/evaluation/evaluate.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import type { Accuracy, Comparison, Latency, Measurement } from '../../src/schemas/report.ts';
import { makeNode, model } from './helpers.ts';

const accuracy = (value: number): Accuracy => ({
  metric: 'top1',
  value,
  samples: 2000,
  confidenceInterval: [value - 0.01, value + 0.01],
  output: 'logits',
  nonFiniteSamples: 0,
  top1: { value, confidenceInterval: [value - 0.01, value + 0.01] },
  perClass: [0, 1].map((index) => ({
    class: index,
    name: `class <${index}>`,
    support: 10,
    predicted: 10,
    precision: 0.9,
    recall: value,
  })),
});
const latency = (p50Ms: number): Latency => ({
  p50Ms,
  p90Ms: p50Ms * 1.1,
  p99Ms: p50Ms * 2,
  meanMs: p50Ms,
  minMs: p50Ms * 0.9,
  runs: 100,
  warmupRuns: 12,
  threads: 1,
  batch: 1,
  coldStartMs: 12,
  coefficientOfVariation: 0.01,
  histogram: { fromMs: p50Ms * 0.9, toMs: p50Ms * 1.2, counts: [10, 70, 15], above: 5 },
});
const measurement = (bytes: number, extra: Partial<Measurement> = {}): Measurement => ({
  bytes,
  operators: { Conv: 2 },
  parameters: 100,
  nonzeroParameters: 100,
  sparsity: 0,
  effectiveBitsPerWeight: 32,
  integerNodesShare: 0,
  ...extra,
});
export const change = (before: number, after: number): Comparison['bytes'] => ({
  before,
  after,
  difference: after - before,
  ratio: before / after,
});

export function evaluation(
  fields: { comparison?: Partial<Comparison>; result?: Partial<Measurement>; layers?: Evaluation['layers'] } = {},
): Evaluation {
  return {
    baseline: measurement(1000, { accuracy: accuracy(0.92), latency: latency(2) }),
    result: measurement(250, { accuracy: accuracy(0.91), latency: latency(1), integerNodesShare: 1, ...fields.result }),
    comparison: {
      bytes: change(1000, 250),
      accuracy: {
        metric: 'top1',
        before: 0.92,
        after: 0.91,
        difference: -0.01,
        confidenceInterval: [-0.016, -0.004],
        samples: 2000,
        pairedTest: {
          method: 'mcnemar-exact',
          statistic: 10,
          pValue: 0.003,
          onlyBaselineCorrect: 30,
          onlyResultCorrect: 10,
        },
        significant: true,
        agreement: { value: 0.97, confidenceInterval: [0.96, 0.98] },
      },
      latency: {
        speedup: 2,
        confidenceInterval: [1.9, 2.1],
        verdict: 'faster',
        reason: 'clear',
        blocks: 16,
        spinning: false,
      },
      ...fields.comparison,
    },
    layers: fields.layers ?? [],
    notMeasured: [],
  };
}

const environment = describeEnvironment({
  tersor: '0.1.0',
  runtime: 'onnxruntime-node 1.30.0',
  threads: 1,
  seed: 0,
  cpuinfo: 'flags\t\t: fpu avx2 fma\n',
});
const net = model({
  nodes: [makeNode('Relu', ['x'], ['y'])],
  inputs: [tensorValue('x', 'float', ['n', 4])],
  outputs: [tensorValue('y', 'float', ['n', 4])],
});
export const facts = (fields: Partial<ReportFacts> = {}): ReportFacts => ({
  job: 'job_1',
  createdAt: new Date('2026-01-02T03:04:05Z'),
  model: net,
  recipe: { version: 1, steps: [{ pass: 'quantize.static' }] },
  target: { cpu: 'portable' },
  data: {},
  constraints: {},
  environment,
  evaluation: evaluation(),
  steps: [
    {
      index: 0,
      pass: 'quantize.static',
      options: { method: 'minmax' },
      seconds: 1,
      changed: 5,
      skipped: [],
      warnings: [],
      details: {},
    },
  ],
  artifacts: [],
  ...fields,
});
