import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../../../src/onnx/model.ts';
import { makeNode, type Node } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { smooth } from '../../../../src/passes/quantize/smooth/smooth.ts';
import { quantizeStatic } from '../../../../src/passes/quantize/static.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { apply, contextOf, cosine, net, noise, operators, outputOf, source, weight } from '../helpers.ts';

const DIMS = [1, 6, 8];
const feeds = { x: { type: 'float' as const, dims: DIMS, data: noise(48, 103) } };
const context = contextOf(source('x', DIMS));

/** Two channels of eight are far larger than the others, as in large transformers. */
const outliers = Tensor.float('gamma', [1, 1, 60, 1, 1, 0.5, 100, 1]);
const norm = (): Node => makeNode('LayerNormalization', ['x', 'gamma', 'beta'], ['n'], { name: 'norm' });

function netOf(nodes: Node[], tensors: Tensor[] = []): Model {
  return net({
    nodes,
    tensors: [outliers, weight('beta', [8], 2), weight('wq', [8, 5], 3), weight('wk', [8, 5], 4), ...tensors],
    inputs: { x: DIMS },
    outputs: { y: [1, 6, 5] },
  });
}

const branches = (): Node[] => [
  makeNode('MatMul', ['n', 'wq'], ['q'], { name: 'query' }),
  makeNode('MatMul', ['n', 'wk'], ['k'], { name: 'key' }),
  makeNode('Mul', ['q', 'k'], ['y'], { name: 'product' }),
];

function closeTo(actual: Float32Array, expected: Float32Array): void {
  const largest = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  actual.forEach((value, i) => assert.ok(Math.abs(value - (expected[i] ?? 0)) <= 1e-5 * largest));
}

describe('smooth', () => {
  it('folds into a LayerNormalization that only products read, with one scale for all of them', async () => {
    const model = netOf([norm(), ...branches()]);
    const before = await outputOf(model, feeds);
    const { report } = await smooth(model, 0.5, context);
    closeTo(await outputOf(model, feeds), before);
    assert.deepEqual([report.folded, report.inserted], [1, 0]);
    assert.deepEqual(operators(model), { LayerNormalization: 1, MatMul: 2, Mul: 1 });
    // s_j = sqrt(max|X_j| / max|W_j|): in float64 from the definition, over both weights.
    const gamma = model.graph.initializers.get('gamma')!.floats();
    const original = netOf([norm()]);
    original.graph.outputs = [{ name: 'n' }];
    const seen = new Float64Array(8);
    for await (const batch of source('x', DIMS).batches()) {
      (await outputOf(original, batch.feeds)).forEach(
        (value, i) => (seen[i % 8] = Math.max(seen[i % 8]!, Math.abs(value))),
      );
    }
    const [wq, wk] = [weight('wq', [8, 5], 3).floats(), weight('wk', [8, 5], 4).floats()];
    for (let j = 0; j < 8; j += 1) {
      const largest = Math.max(...[...wq.slice(5 * j, 5 * j + 5), ...wk.slice(5 * j, 5 * j + 5)].map(Math.abs));
      const expected = outliers.floats()[j]! / Math.sqrt(seen[j]! / largest);
      assert.ok(Math.abs(gamma[j]! / expected - 1) < 1e-5);
    }
  });

  it('folds through the Add and Mul of a normalization that is written out, and into a product and its bias', async () => {
    const model = netOf(
      [
        makeNode('MatMul', ['x', 'w0'], ['m'], { name: 'first' }),
        makeNode('Add', ['m', 'beta'], ['a'], { name: 'bias' }),
        makeNode('Relu', ['a'], ['r'], { name: 'relu' }),
        makeNode('MatMul', ['r', 'w1'], ['s'], { name: 'second' }),
        makeNode('Div', ['s', 'gamma'], ['d'], { name: 'scaled' }),
        makeNode('Add', ['half', 'd'], ['n'], { name: 'shifted' }),
        ...branches(),
      ],
      [weight('w0', [8, 8], 5), weight('w1', [8, 8], 6), Tensor.float('half', [0.5], [1])],
    );
    const before = await outputOf(model, feeds);
    const { report } = await smooth(model, 0.7, context);
    verifyModel(model);
    closeTo(await outputOf(model, feeds), before);
    // The graph's input has no operator before it.
    assert.deepEqual([report.folded, report.inserted], [2, 1]);
  });

  it('adds a Mul where something else reads the value, and keeps its factors in float', async () => {
    const model = netOf([
      norm(),
      ...branches().slice(0, 2),
      makeNode('Add', ['q', 'k'], ['y']),
      makeNode('Relu', ['n'], ['z']),
    ]);
    model.graph.outputs.push({ name: 'z' });
    const before = await outputOf(model, feeds);
    const { report } = await smooth(copyModel(model), 0.5, context);
    assert.deepEqual([report.folded, report.inserted], [0, 1]);
    const { skipped } = await apply(quantizeStatic, model, { smooth: 0.5 }, context);
    assert.match(skipped.find(({ node }) => node === 'n_smoothed')!.reason, /stay in float/);
    assert.ok(cosine(await outputOf(model, feeds), before) > 0.999);
  });

  it('makes int8 better where channels have outliers', async () => {
    const errors: number[] = [];
    for (const options of [{}, { smooth: 0.5 }]) {
      const model = netOf([norm(), ...branches()]);
      // Large inputs meet small weights, so that every channel has its part in the result.
      for (const name of ['wq', 'wk']) {
        const values = model.graph.initializers.get(name)!.floats();
        const small = values.map((value, i) => value / (outliers.floats()[Math.floor(i / 5)] ?? 1));
        model.graph.initializers.set(name, Tensor.float(name, small, [8, 5]));
      }
      const before = await outputOf(model, feeds);
      await apply(quantizeStatic, model, { ...options, perChannel: false }, context);
      errors.push(1 - cosine(await outputOf(model, feeds), before));
    }
    assert.ok(errors[1]! < errors[0]! / 2, errors.join(' '));
  });
});
