import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TrainingOptions, TrainingSource } from '../../../../src/data/training/training-source.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { finetuneContext } from '../../../../src/passes/finetune-context.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import type { PassContext } from '../../../../src/passes/pass.ts';
import { pruneUnstructured } from '../../../../src/passes/prune/unstructured/unstructured.ts';
import { TrainingField } from '../../../../src/schemas/training.ts';
import { gradientSaliency } from '../../../../src/training/saliency.ts';
import { decodeSnapshot } from '../../../../src/training/snapshot-codec.ts';
import { contextOf, net, source } from '../../quantize/helpers.ts';
import { op } from '../between.ts';

const WEIGHTS = [0.9, -0.4, 0.7, -0.6, 0.8, -0.3];
/** Two samples of three features and the class of each, by batch. */
const BATCHES = [
  { x: [1, -0.5, 0.25, 0.5, 1, -1], classes: [0, 1] },
  { x: [-1, 0.75, 0.5, 0.25, -0.5, 1], classes: [1, 0] },
  { x: [0.5, 0.5, -0.75, -0.25, 1, 0.5], classes: [1, 1] },
  { x: [0.75, -1, 0.5, 1, 0.25, -0.5], classes: [0, 0] },
];
const [SAMPLES, INPUTS, OUTPUTS, RATE] = [2, 3, 2, 0.3];

/** y = x Wᵀ. */
const linear = (): Model =>
  net({
    nodes: [op('Gemm', ['x', 'w'], 'y', { transB: 1 })],
    tensors: [Tensor.float('w', WEIGHTS, [OUTPUTS, INPUTS])],
    inputs: { x: ['n', INPUTS] },
    outputs: { y: ['n', OUTPUTS] },
  });

/** The batches above, in their order. */
function inOrder({ batchSize }: TrainingOptions): Promise<TrainingSource> {
  return Promise.resolve({
    info: {
      samples: SAMPLES * BATCHES.length,
      validationSamples: 0,
      batchSize,
      stepsPerEpoch: BATCHES.length,
      arrays: new Map([['x', 'x']]),
      labels: undefined,
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 4 * INPUTS,
      warnings: [],
    },
    async *epoch(epoch, fromStep = 0) {
      for (const [step, { x, classes }] of [...BATCHES.entries()].slice(fromStep)) {
        yield await Promise.resolve({
          feeds: { x: { type: 'float' as const, dims: [SAMPLES, INPUTS], data: Float32Array.from(x) } },
          labels: { type: 'int64' as const, dims: [SAMPLES], data: BigInt64Array.from(classes, BigInt) },
          count: SAMPLES,
          epoch,
          step,
          samples: Uint32Array.from([0, 1], (at) => SAMPLES * step + at),
        });
      }
    },
    validation: () => undefined,
    close: () => Promise.resolve(),
  } satisfies TrainingSource);
}

/** dL/dW of L = mean of (y - t)² over samples and outputs, t one-hot: 2 / (samples * outputs) * (y - t)ᵀ x. */
function gradientOf(weights: readonly number[], { x, classes }: (typeof BATCHES)[number]): number[] {
  return weights.map((_, at) => {
    const [o, i] = [Math.floor(at / INPUTS), at % INPUTS];
    return classes.reduce((sum, label, sample) => {
      const own = x.slice(sample * INPUTS, (sample + 1) * INPUTS);
      const y = own.reduce((total, value, j) => total + value * (weights[o * INPUTS + j] ?? NaN), 0);
      return sum + (2 / (SAMPLES * OUTPUTS)) * (y - (label === o ? 1 : 0)) * (own[i] ?? NaN);
    }, 0);
  });
}

/** S of a weight behind a step: g of the masked weight, w the dense one. Sanh et al. 2020, eq. 5; Neural Compressor's snip_momentum. */
const NEXT = {
  movement: (score: number, g: number, w: number): number => score - RATE * g * w,
  snip: (score: number, g: number, w: number): number => 0.9 * score + Math.abs(g * w),
} as const;

/** Plain descent along the closed form; half of the weights, those of the lowest scores, go before the third step. */
function expected(method: keyof typeof NEXT): { scores: number[][]; mask: number[] } {
  let weights = WEIGHTS;
  let score = WEIGHTS.map(() => 0);
  let mask = WEIGHTS.map(() => 1);
  const scores: number[][] = [];
  for (const [step, batch] of BATCHES.entries()) {
    const kept = [...score].sort((a, b) => a - b)[WEIGHTS.length / 2] ?? NaN;
    if (step === 2) mask = score.map((value) => (value < kept ? 0 : 1));
    const gradient = gradientOf(
      weights.map((w, at) => w * (mask[at] ?? NaN)),
      batch,
    );
    score = score.map((value, at) => NEXT[method](value, gradient[at] ?? NaN, weights[at] ?? NaN));
    weights = weights.map((w, at) => w - RATE * (mask[at] ?? NaN) * (gradient[at] ?? NaN));
    scores.push(score);
  }
  return { scores, mask };
}

const training = {
  epochs: 1,
  batchSize: SAMPLES,
  learningRate: RATE,
  schedule: 'constant',
  optimizer: { name: 'sgd', momentum: 0, weightDecay: 0 },
  loss: 'mse',
  validation: { fraction: 0 },
};
const contextWith = (changes: Partial<PassContext> = {}): PassContext =>
  contextOf(undefined, { data: { training: source('x', [1, INPUTS]) }, openTraining: inOrder, ...changes });

/** To rounding: some ten operations of float32 on numbers of about 1. */
const assertNear = (got: Iterable<number>, wanted: readonly number[], of: string): void =>
  [...got].forEach((value, at) =>
    assert.ok(Math.abs(value - (wanted[at] ?? NaN)) < 1e-6, `${of}, weight ${at}: ${value}, not ${wanted[at]}`),
  );

/** What the snapshots of a run hold of the scores, one after each update. */
function scoresOf(snapshot: Uint8Array): Float32Array {
  const text = Buffer.from(snapshot)
    .subarray(4, 4 + Buffer.from(snapshot).readUInt32LE(0))
    .toString('utf8');
  const { key } = JSON.parse(text) as { key: string };
  return decodeSnapshot(snapshot, key)?.state.get('w.score') ?? new Float32Array(0);
}

describe('scores that training keeps, of a linear layer with squared error, whose gradients have a closed form', () => {
  for (const method of ['movement', 'snip'] as const) {
    it(`${method}: after every update those of the formula, and the lowest are zeroed`, async () => {
      const model = linear();
      const saved: Uint8Array[] = [];
      const save = (state: Uint8Array): Promise<void> => Promise.resolve(void saved.push(state));
      const schedule = { name: 'gradual', from: 0.5, to: 0.5, every: 1 };
      const options = { method, sparsity: 0.5, scope: 'layer', schedule, training, distillation: false };
      await runStep(
        model,
        { pass: pruneUnstructured, options: pruneUnstructured.options.parse(options) },
        contextWith({ checkpoint: { everySeconds: 0, load: () => Promise.resolve(undefined), save } }),
      );
      const { scores, mask } = expected(method);
      assert.equal(saved.length, scores.length);
      scores.forEach((wanted, update) => {
        const got = scoresOf(saved[update] ?? new Uint8Array(0));
        assert.equal(got.length, WEIGHTS.length);
        assertNear(got, wanted, `update ${update + 1}`);
      });
      const kept = Array.from(model.graph.initializers.get('w')?.floats() ?? [], (value) => (value === 0 ? 0 : 1));
      assert.deepEqual(kept, mask);
    });
  }

  it('snip at once: |w g| summed over the batches, of weights that stay as they are', async () => {
    const model = linear();
    const sums = await gradientSaliency(
      model,
      ['w'],
      { training: TrainingField.parse(training), batches: 3 },
      finetuneContext(contextWith()),
    );
    const wanted = WEIGHTS.map((w, at) =>
      BATCHES.slice(0, 3).reduce((sum, batch) => sum + Math.abs(w * (gradientOf(WEIGHTS, batch)[at] ?? NaN)), 0),
    );
    assert.equal(sums.get('w')?.length, WEIGHTS.length);
    assertNear(sums.get('w') ?? [], wanted, 'snip');
  });
});
