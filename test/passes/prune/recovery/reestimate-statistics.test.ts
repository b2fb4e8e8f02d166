import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { ChannelStatistics } from '../../../../src/passes/prune/recovery/channel-statistics.ts';
import { reestimateStatistics } from '../../../../src/passes/prune/recovery/reestimate-statistics.ts';
import { contextWith, noiseSource, repeatingNet, valuesOf, Weights, withoutChannels } from './helpers.ts';

/** Two passes over [samples, channels, places], as a textbook has it. */
function momentsOf(values: Float32Array, channels: number, places: number): { mean: number[]; variance: number[] } {
  const byChannel = Array.from({ length: channels }, (_, channel) =>
    Array.from(values).filter((_value, at) => Math.floor(at / places) % channels === channel),
  );
  const mean = byChannel.map((list) => list.reduce((sum, value) => sum + value, 0) / list.length);
  const variance = byChannel.map(
    (list, c) => list.reduce((sum, value) => sum + (value - (mean[c] ?? 0)) ** 2, 0) / (list.length - 1),
  );
  return { mean, variance };
}

function close(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(got.length, expected.length);
  Array.from(expected).forEach((value, i) =>
    assert.ok(
      Math.abs(value - (got[i] ?? NaN)) <= tolerance * Math.max(1, Math.abs(value)),
      `${got[i]} is not ${value}`,
    ),
  );
}

describe('ChannelStatistics', () => {
  it('adds batches up to mean and unbiased variance, also far from zero, and leaves padding out', () => {
    const data = new Weights().noise([4, 2, 3]).map((value, i) => value + (Math.floor(i / 3) % 2) * 1e4);
    const statistics = new ChannelStatistics(1);
    statistics.add({ type: 'float', dims: [2, 2, 3], data: data.slice(0, 12) }, 2);
    statistics.add({ type: 'float', dims: [2, 2, 3], data: data.slice(12) }, 1);
    const expected = momentsOf(data.slice(0, 18), 2, 3);
    assert.equal(statistics.count, 9);
    close(statistics.mean, expected.mean, 1e-12);
    close(statistics.variance, expected.variance, 1e-9);
  });

  it('counts axes from the back', () => {
    const statistics = new ChannelStatistics(-1);
    statistics.add({ type: 'float', dims: [3, 2], data: Float32Array.of(1, 10, 2, 20, 6, 30) }, 3);
    close(statistics.mean, [3, 20], 1e-12);
    close(statistics.variance, [7, 100], 1e-12);
  });
});

const GONE = [1, 4, 6];

function normalization(b: GraphBuilder, x: string, name: string): string {
  const vector = (what: string, value: number): string =>
    b.initializer(Tensor.float(`${name}_${what}`, new Float32Array(4).fill(value)));
  const inputs = [x, vector('scale', 1.5), vector('shift', 0.5), vector('mean', 7), vector('variance', 9)];
  return b.op('BatchNormalization', inputs, { name });
}

describe('reestimateStatistics', () => {
  it('gives every BatchNormalization behind the cut the statistics of its input, those before it corrected', async () => {
    const original = repeatingNet((b, weights, channels) => {
      const one = b.op('Conv', [channels, b.initializer(weights.tensor('w2', [4, 8, 3, 3]))], { name: 'one' });
      const middle = b.op('Relu', [normalization(b, one, 'bn1')]);
      const two = b.op('Conv', [middle, b.initializer(weights.tensor('w3', [4, 4, 1, 1]))], { name: 'two' });
      return normalization(b, two, 'bn2');
    });
    const feeds = noiseSource(original, 20, { fixed: 8 });
    const { pruned, ...from } = withoutChannels(original, 'channels_output', GONE);
    const { layers, skipped } = await reestimateStatistics(pruned, from, feeds, contextWith());
    assert.deepEqual({ layers, skipped }, { layers: ['bn1', 'bn2'], skipped: [] });
    for (const [name, input] of [
      ['bn1', 'one_output'],
      ['bn2', 'two_output'],
    ] as const) {
      const expected = momentsOf(await valuesOf(pruned, feeds, input), 4, 16);
      // float32 convolutions, run with other fusions.
      close(pruned.graph.initializers.get(`${name}_mean`)?.floats() ?? [], expected.mean, 1e-4);
      close(pruned.graph.initializers.get(`${name}_variance`)?.floats() ?? [], expected.variance, 1e-4);
    }
  });

  it('leaves statistics before the cut as they are', async () => {
    const original = repeatingNet((b, weights, channels) => {
      const before = normalization(
        b,
        b.op('Conv', [channels, b.initializer(weights.tensor('w2', [4, 8, 1, 1]))]),
        'before',
      );
      const cut = b.op('Relu', [before], { name: 'cut' });
      const behind = b.op('Conv', [cut, b.initializer(weights.tensor('w3', [4, 4, 1, 1]))], { name: 'behind' });
      return normalization(b, behind, 'after');
    });
    const { pruned, ...from } = withoutChannels(original, 'cut_output', [2]);
    const { layers } = await reestimateStatistics(pruned, from, noiseSource(original, 8), contextWith());
    assert.deepEqual(layers, ['after']);
    assert.deepEqual([...(pruned.graph.initializers.get('before_mean')?.floats() ?? [])], [7, 7, 7]);
  });

  it('matches mean and deviation of the original where no BatchNormalization is left, at the channels that stay', async () => {
    const original = repeatingNet((b, weights, channels) => {
      const one = b.op('Conv', [channels, b.initializer(weights.tensor('w2', [6, 8, 3, 3]))], { name: 'one' });
      const bias = b.initializer(weights.tensor('b3', [2]));
      return b.op(
        'Conv',
        [b.op('Relu', [one], { name: 'inner' }), b.initializer(weights.tensor('w3', [2, 6, 1, 1])), bias],
        {
          name: 'two',
        },
      );
    });
    const feeds = noiseSource(original, 20);
    const first = withoutChannels(original, 'channels_output', GONE);
    const { layers } = await reestimateStatistics(first.pruned, first, feeds, contextWith());
    assert.deepEqual(layers, ['one', 'two']);
    for (const [value, channels] of [
      ['one_output', 6],
      ['two_output', 2],
    ] as const) {
      const expected = momentsOf(await valuesOf(original, feeds, value), channels, 16);
      const got = momentsOf(await valuesOf(first.pruned, feeds, value), channels, 16);
      close(got.mean, expected.mean, 1e-3);
      close(got.variance, expected.variance, 1e-3);
    }
    const second = withoutChannels(original, 'inner_output', [0, 3]);
    await reestimateStatistics(second.pruned, second, feeds, contextWith());
    const expected = momentsOf(await valuesOf(original, feeds), 2, 16);
    close(momentsOf(await valuesOf(second.pruned, feeds), 2, 16).mean, expected.mean, 1e-3);
  });
});
