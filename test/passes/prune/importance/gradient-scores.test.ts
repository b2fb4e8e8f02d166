import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TrainingOptions, TrainingSource } from '../../../../src/data/training/training-source.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import { analyzeChannels } from '../../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../../src/passes/prune/groups/channel-groups.ts';
import { gradientScores } from '../../../../src/passes/prune/importance/gradient-scores.ts';
import { finetuneContext } from '../../../../src/passes/finetune-context.ts';
import { TrainingField } from '../../../../src/schemas/training.ts';
import { contextOf, net, noise, weight } from '../../quantize/helpers.ts';
import { stripes, teacherNet, trainingContext } from '../../distill/helpers.ts';
import { op } from '../between.ts';

/** x [n, 2, 4, 4] through a convolution with normalization and one without to 3 logits. */
function network(): Model {
  return net({
    nodes: [
      op('Conv', ['x', 'w1', 'b1'], 'c', { pads: [1, 1, 1, 1] }),
      op('BatchNormalization', ['c', 'gamma', 'beta', 'mean', 'var'], 'n'),
      op('Relu', ['n'], 'r'),
      op('Conv', ['r', 'w2'], 'd'),
      op('GlobalAveragePool', ['d'], 'p'),
      op('Flatten', ['p'], 'f'),
      op('Gemm', ['f', 'fc'], 'y', { transB: 1 }),
    ],
    tensors: [
      weight('w1', [3, 2, 3, 3], 1, 1),
      weight('b1', [3], 2),
      weight('gamma', [3], 3, 1),
      weight('beta', [3], 4),
      weight('w2', [4, 3, 1, 1], 5, 1),
      weight('fc', [3, 4], 6, 1),
      weight('mean', [3], 7),
      Tensor.float('var', [0.5, 0.9, 1.3]),
    ],
    inputs: { x: ['n', 2, 4, 4] },
    outputs: { y: ['n', 3] },
  });
}

const SAMPLES = 6;
const SIZE = 2 * 4 * 4;

/** Six samples of noise in the order 0, 1, 2 …, of classes 0, 1, 2, 0, 1, 2. */
function inOrder({ batchSize }: TrainingOptions): Promise<TrainingSource> {
  const images = noise(SAMPLES * SIZE, 100);
  return Promise.resolve({
    info: {
      samples: SAMPLES,
      validationSamples: 0,
      batchSize,
      stepsPerEpoch: SAMPLES / batchSize,
      arrays: new Map([['x', 'images']]),
      labels: undefined,
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 4 * SIZE,
      warnings: [],
    },
    async *epoch() {
      for (let from = 0; from + batchSize <= SAMPLES; from += batchSize) {
        const samples = Uint32Array.from({ length: batchSize }, (_, i) => from + i);
        yield await Promise.resolve({
          feeds: {
            x: {
              type: 'float' as const,
              dims: [batchSize, 2, 4, 4],
              data: images.slice(from * SIZE, (from + batchSize) * SIZE),
            },
          },
          labels: {
            type: 'int64' as const,
            dims: [batchSize],
            data: BigInt64Array.from(samples, (sample) => BigInt(sample % 3)),
          },
          count: batchSize,
          epoch: 0,
          step: from / batchSize,
          samples,
        });
      }
    },
    validation: () => undefined,
    close: () => Promise.resolve(),
  } satisfies TrainingSource);
}

/**
 * Of PyTorch 2 in float64: `cross_entropy` of the same network with `batch_norm` in evaluation, three batches of two samples for
 * taylor and six of one for hessian; products of weights and gradients summed over rows, bias, gamma, beta and columns.
 */
const EXPECTED = {
  taylor: [
    [0.1384339615659808, 0.0037523182617328313, 0.03992583323146678],
    [0.002773434834967261, 0.006381534700273809, 0.014525469008069723, 0.00892571910535896],
  ],
  hessian: [
    [0.07841536638904324, 0.005473778522670617, 0.040899528067923914],
    [0.004821910748032329, 0.014153339618411247, 0.029759203508783773, 0.02126757641448579],
  ],
} as const;

describe('scores by gradients', () => {
  const training = TrainingField.parse({ batchSize: 2, validation: { fraction: 0 } });
  const context = () => finetuneContext(contextOf(undefined, { openTraining: inOrder }));

  for (const importance of ['taylor', 'hessian'] as const) {
    it(`${importance} is PyTorch's, of every batch or sample and with the scales of normalization`, async () => {
      const model = network();
      const { groups } = channelGroups(analyzeChannels(model));
      const scores = await gradientScores(importance, model, groups, {
        probe: { training, batches: 3 },
        context: context(),
      });
      EXPECTED[importance].forEach((channels, group) => {
        assert.equal(scores[group]?.length, channels.length);
        channels.forEach((expected, channel) => {
          // Products of float32 gradients of some ten operations: 1e-6 each, at most ten times that where terms cancel.
          const got = scores[group]?.[channel] ?? NaN;
          assert.ok(Math.abs(got / expected - 1) < 2e-5, `group ${group} channel ${channel}: ${got}, not ${expected}`);
        });
      });
    });
  }

  it('leaves the weights and the training settings of other steps alone', async () => {
    const model = network();
    const before = new Map(model.graph.initializers);
    const { groups } = channelGroups(analyzeChannels(model));
    const settings = TrainingField.parse({
      batchSize: 2,
      optimizer: 'adamw',
      clipNorm: 1e-3,
      accumulate: 2,
      ema: 0.9,
      frozen: ['w1'],
      validation: { fraction: 0 },
    });
    const probe = { training: settings, batches: 3 };
    const scores = await gradientScores('taylor', model, groups, { probe, context: context() });
    const plain = await gradientScores('taylor', model, groups, {
      probe: { training, batches: 3 },
      context: context(),
    });
    assert.deepEqual(scores, plain);
    assert.deepEqual(model.graph.initializers, before);
  });

  for (const importance of ['taylor', 'hessian']) {
    it(`prune.channels by ${importance} takes training data, removes what was asked for, and the same each time`, async () => {
      const prune = async () => {
        const model = teacherNet();
        const options = { importance, ratio: 0.5, batches: 2, training: { batchSize: 16 } };
        const step = { pass: pruneChannels, options: pruneChannels.options.parse(options) };
        assert.deepEqual(pruneChannels.needs(step.options), ['training']);
        const { details } = await runStep(model, step, trainingContext(model, stripes(48)));
        return details['groups'] as { of: number; kept: number }[];
      };
      const groups = await prune();
      const sum = (key: 'of' | 'kept'): number => groups.reduce((total, group) => total + group[key], 0);
      assert.equal(sum('kept'), Math.ceil(sum('of') / 2));
      assert.deepEqual(await prune(), groups);
    });
  }

  it('refuses a model without float weights', () => {
    const options = pruneChannels.options.parse({ importance: 'taylor' });
    const quantized = net({
      nodes: [op('Relu', ['x'], 'y')],
      inputs: { x: [1, 2] },
      outputs: { y: [1, 2] },
    });
    assert.match(pruneChannels.requires(quantized, options) ?? '', /need float weights, and the model has none/);
  });
});
