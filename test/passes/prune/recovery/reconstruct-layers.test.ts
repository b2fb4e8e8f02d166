import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { reconstructLayers } from '../../../../src/passes/prune/recovery/reconstruct-layers.ts';
import {
  contextWith,
  noiseSource,
  relative,
  repeatedFilters,
  repeatingNet,
  valuesOf,
  Weights,
  withoutChannels,
} from './helpers.ts';

/** What is left of the damping: 1e-3 of the mean square, in the directions that the data hardly take. */
const NEAR = 1e-3;
const GONE = [4, 5, 6, 7];

describe('reconstructLayers', () => {
  it('gives a convolution and its BatchNormalization back what channels that repeat others took with them', async () => {
    const original = repeatingNet((b, weights, channels) => {
      const conv = b.op('Conv', [channels, b.initializer(weights.tensor('w2', [5, 8, 3, 3]))], { name: 'second' });
      const vector = (name: string, value: number): string =>
        b.initializer(Tensor.float(name, new Float32Array(5).fill(value)));
      const statistics = [vector('scale', 2), vector('shift', 0.5), vector('mean', 0.1), vector('variance', 3)];
      return b.op('BatchNormalization', [conv, ...statistics]);
    });
    const feeds = noiseSource(original, 40);
    const { pruned, ...from } = withoutChannels(original, 'channels_output', GONE);
    const expected = await valuesOf(original, feeds);
    assert.ok(relative(expected, await valuesOf(pruned, feeds)) > 0.1);
    const { layers, skipped } = await reconstructLayers(pruned, from, feeds, contextWith());
    assert.deepEqual(skipped, []);
    assert.deepEqual(
      layers.map(({ node, inputs, rows }) => ({ node, inputs, rows })),
      // 4 x 4 places a sample: fewer than there would be room for.
      [{ node: 'second', inputs: 36, rows: 640 }],
    );
    assert.ok((layers[0]?.errorBefore ?? 0) > 0.05 && (layers[0]?.errorAfter ?? 1) < 1e-4);
    assert.ok(relative(expected, await valuesOf(pruned, feeds)) < NEAR);
    assert.equal(pruned.graph.nodes.length, original.graph.nodes.length);
  });

  it('makes up by a bias for channels that are constant', async () => {
    const original = repeatingNet((b, weights, channels) =>
      b.op('Conv', [channels, b.initializer(weights.tensor('w2', [5, 8, 1, 1]))], { name: 'second' }),
    );
    const { graph } = original;
    const first = Float32Array.from(graph.initializers.get('w1')?.floats() ?? []);
    first.fill(0, first.length / 2);
    graph.initializers.set('w1', Tensor.float('w1', first, [8, 3, 3, 3]));
    graph.initializers.set('b1', Tensor.float('b1', [0, 0, 0, 0, 1, 2, 3, 4]));
    const feeds = noiseSource(original, 40);
    const { pruned, ...from } = withoutChannels(original, 'channels_output', GONE);
    await reconstructLayers(pruned, from, feeds, contextWith());
    assert.ok(relative(await valuesOf(original, feeds), await valuesOf(pruned, feeds)) < NEAR);
    assert.equal(pruned.graph.nodes.find(({ name }) => name === 'second')?.inputs.length, 3);
  });

  it('restores products: MatMul with the Add behind it, and Gemm', async () => {
    const b = new GraphBuilder('mlp');
    const weights = new Weights();
    const x = b.input('x', 'float', ['batch', 6]);
    const w1 = repeatedFilters(weights, 'w1', [8, 6]);
    const hidden = b.op('Relu', [b.op('Gemm', [x, b.initializer(w1)], { attributes: { transB: 1 } })], {
      name: 'hidden',
    });
    const product = b.op('MatMul', [hidden, b.initializer(weights.tensor('w2', [8, 4]))], { name: 'product' });
    const sum = b.op('Add', [product, b.initializer(weights.tensor('b2', [4]))]);
    const w3 = b.initializer(weights.tensor('w3', [4, 3]));
    b.output(b.op('Gemm', [sum, w3, b.initializer(weights.tensor('b3', [3]))], { name: 'last' }), 'y', 'float', [
      'batch',
      3,
    ]);
    const original = b.model(17);
    const feeds = noiseSource(original, 300);
    const { pruned, ...from } = withoutChannels(original, 'hidden_output', GONE);
    const { layers, skipped } = await reconstructLayers(pruned, from, feeds, contextWith());
    assert.deepEqual(skipped, []);
    assert.deepEqual(
      layers.map(({ node, inputs }) => [node, inputs]),
      [
        ['product', 4],
        ['last', 4],
      ],
    );
    assert.ok(relative(await valuesOf(original, feeds), await valuesOf(pruned, feeds)) < NEAR);
  });

  it('fits the groups of a grouped convolution each on its own inputs, and leaves depthwise ones alone', async () => {
    // Channels 2, 3 of each group of 4 repeat 0, 1, so that both groups can lose as many.
    const b = new GraphBuilder('grouped');
    const weights = new Weights();
    const x = b.input('x', 'float', ['batch', 3, 6, 6]);
    const values = weights.noise([8, 3]);
    for (const to of [2, 3, 6, 7]) values.copyWithin(to * 3, (to - 2) * 3, (to - 1) * 3);
    const first = b.op('Conv', [x, b.initializer(Tensor.float('w1', values, [8, 3, 1, 1]))]);
    const depthwise = b.op(
      'Conv',
      [
        b.op('Relu', [first], { name: 'channels' }),
        b.initializer(Tensor.float('w2', new Float32Array(8).fill(2), [8, 1, 1, 1])),
      ],
      {
        attributes: { group: 8 },
        name: 'depthwise',
      },
    );
    const grouped = b.op('Conv', [depthwise, b.initializer(weights.tensor('w3', [6, 4, 3, 3]))], {
      attributes: { group: 2 },
      name: 'grouped',
    });
    const last = b.op('Conv', [grouped, b.initializer(weights.tensor('w4', [6, 1, 1, 1]))], {
      attributes: { group: 6 },
      name: 'behind',
    });
    b.output(last, 'y', 'float', ['batch', 6, 4, 4]);
    const original = b.model(17);
    const feeds = noiseSource(original, 40);
    const { pruned, ...from } = withoutChannels(original, 'channels_output', [2, 3, 6, 7]);
    const { layers, skipped } = await reconstructLayers(pruned, from, feeds, contextWith());
    assert.deepEqual(
      layers.map(({ node, inputs }) => [node, inputs]),
      [['grouped', 18]],
    );
    assert.deepEqual(
      skipped.map(({ node }) => node),
      ['behind'],
    );
    assert.match(skipped[0]?.reason ?? '', /depthwise/);
    assert.ok(relative(await valuesOf(original, feeds), await valuesOf(pruned, feeds)) < NEAR);
  });

  it('lets the last layer before a sum make up for what the shortcut lost, through its BatchNormalization', async () => {
    const original = repeatingNet((b, weights, channels) => {
      const weight = (name: string, dims: readonly number[]): string => b.initializer(weights.tensor(name, dims, 0.3));
      const shortcut = b.op('Relu', [b.op('Conv', [channels, weight('w2', [4, 8, 1, 1])], { name: 'shortcut' })]);
      const branch = b.op('Conv', [shortcut, weight('w3', [4, 4, 1, 1])], { name: 'branch' });
      const vector = (name: string, value: number): string =>
        b.initializer(Tensor.float(name, new Float32Array(4).fill(value)));
      const statistics = [vector('scale', 2), vector('shift', 0.5), vector('mean', 0.1), vector('variance', 3)];
      return b.op('Add', [b.op('BatchNormalization', [branch, ...statistics]), shortcut]);
    });
    const feeds = noiseSource(original, 40);
    // Channels 1 and 3 repeat nobody who stays.
    const { pruned, ...from } = withoutChannels(original, 'channels_output', [1, 3, 5, 7]);
    await reconstructLayers(pruned, from, feeds, contextWith());
    // What is left over has no mean, as behind any fit with a bias: here it is that of the sum.
    const [expected, got] = [await valuesOf(original, feeds), await valuesOf(pruned, feeds)];
    for (let channel = 0; channel < 4; channel += 1) {
      let [difference, size] = [0, 0];
      expected.forEach((value, i) => {
        if (Math.floor(i / 36) % 4 !== channel) return;
        difference += value - (got[i] ?? NaN);
        size += Math.abs(value - (got[i] ?? NaN));
      });
      assert.ok(size > 1, 'nothing was lost');
      assert.ok(Math.abs(difference) < 1e-4 * size, `${difference} of ${size}`);
    }
  });

  it('does not count the padding of a fixed batch, and gives the same bytes each time', async () => {
    const original = repeatingNet((b, weights, channels) =>
      b.op('Conv', [channels, b.initializer(weights.tensor('w2', [5, 8, 3, 3]))], { name: 'second' }),
    );
    const runs = await Promise.all(
      [
        noiseSource(original, 13, { batch: 13 }),
        noiseSource(original, 13, { fixed: 8 }),
        noiseSource(original, 13, { fixed: 8 }),
      ].map(async (feeds) => {
        const { pruned, ...from } = withoutChannels(original, 'channels_output', GONE);
        const { layers } = await reconstructLayers(pruned, from, feeds, contextWith());
        return { rows: layers[0]?.rows, bytes: Buffer.from(encodeModel(pruned)) };
      }),
    );
    assert.deepEqual(
      runs.map(({ rows }) => rows),
      [208, 208, 208],
    );
    assert.ok(runs[1]?.bytes.equals(runs[2]?.bytes ?? Buffer.alloc(0)));
  });

  it('skips a weight that two layers share, stops when canceled, and wants samples', async () => {
    const original = repeatingNet((b, weights, channels) => {
      const shared = b.initializer(weights.tensor('w2', [8, 8, 1, 1]));
      return b.op('Conv', [b.op('Conv', [channels, shared], { name: 'once' }), shared], { name: 'twice' });
    });
    const { graph } = original;
    const again = graph.nodes.findIndex(({ name }) => name === 'twice');
    // Read twice from the same channels, so that they can be cut at all.
    graph.nodes[again]?.inputs.splice(0, 1, 'channels_output');
    const feeds = noiseSource(original, 8);
    const { pruned, ...from } = withoutChannels(original, 'channels_output', GONE);
    const { layers, skipped } = await reconstructLayers(pruned, from, feeds, contextWith());
    assert.deepEqual(layers, []);
    assert.match(skipped[0]?.reason ?? '', /share/);

    const other = repeatingNet((b, weights, channels) =>
      b.op('Conv', [channels, b.initializer(weights.tensor('w2', [5, 8, 1, 1]))], { name: 'second' }),
    );
    const cut = withoutChannels(other, 'channels_output', GONE);
    await assert.rejects(reconstructLayers(cut.pruned, cut, feeds, contextWith(AbortSignal.abort())), {
      name: 'AbortError',
    });
    await assert.rejects(reconstructLayers(cut.pruned, cut, noiseSource(other, 0), contextWith()), {
      code: 'DATASET_EMPTY',
    });
  });
});
