import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import {
  apply,
  contextOf,
  cosine,
  net,
  noise,
  operators,
  optimizedOperators,
  outputOf,
  source,
  weight,
} from './helpers.ts';

const DIMS = [1, 6, 8];
const feeds = source('x', DIMS);

/** One head of attention with its biases, scale and residual sum. */
function attention(): Model {
  return net({
    nodes: [
      ...['q', 'k', 'v'].flatMap((name) => [
        makeNode('MatMul', ['x', `${name}_w`], [`${name}_p`], { name }),
        makeNode('Add', [`${name}_p`, 'bias'], [name], { name: `${name}_bias` }),
      ]),
      makeNode('Transpose', ['k'], ['kt'], { name: 'turn', attributes: { perm: [0, 2, 1] } }),
      makeNode('MatMul', ['q', 'kt'], ['scores'], { name: 'scores' }),
      makeNode('Mul', ['scores', 'factor'], ['scaled'], { name: 'scale' }),
      makeNode('Softmax', ['scaled'], ['shares'], { name: 'softmax', attributes: { axis: -1 } }),
      makeNode('MatMul', ['shares', 'v'], ['mixed'], { name: 'mix' }),
      makeNode('Add', ['mixed', 'x'], ['y'], { name: 'residual' }),
    ],
    tensors: [
      ...['q', 'k', 'v'].map((name, i) => weight(`${name}_w`, [8, 8], i + 1)),
      weight('bias', [8], 7),
      weight('factor', [1], 8, 1),
    ],
    inputs: { x: DIMS },
    outputs: { y: DIMS },
  });
}

/** What stands behind attention: normalization, two products with a Gelu between them, a sum. */
function feedForward(): Model {
  return net({
    nodes: [
      makeNode('LayerNormalization', ['x', 'gamma', 'beta'], ['n'], { name: 'norm' }),
      makeNode('MatMul', ['n', 'up_w'], ['up_p'], { name: 'up' }),
      makeNode('Add', ['up_p', 'up_b'], ['u'], { name: 'up_bias' }),
      makeNode('Gelu', ['u'], ['g'], { name: 'gelu' }),
      makeNode('MatMul', ['g', 'down_w'], ['d'], { name: 'down' }),
      makeNode('Add', ['d', 'x'], ['y'], { name: 'residual' }),
    ],
    tensors: [
      weight('gamma', [8], 1, 1),
      weight('beta', [8], 2),
      weight('up_w', [8, 32], 3),
      weight('up_b', [32], 4),
      weight('down_w', [32, 8], 5),
    ],
    inputs: { x: DIMS },
    outputs: { y: DIMS },
  });
}

describe('placement', () => {
  it('layers: products of activations too are in int8, what lies between them stays in float, and the report says so', async () => {
    const model = attention();
    const x = { x: { type: 'float' as const, dims: DIMS, data: noise(48, 100) } };
    const before = await outputOf(model, x);
    const result = await apply(quantizeStatic, model, { placement: 'layers' }, contextOf(feeds));
    assert.equal(result.changes, 5);
    const kept = result.skipped.filter(({ reason }) => reason.includes('placement "layers"')).map(({ node }) => node);
    assert.deepEqual(kept.sort(), ['k_bias', 'q_bias', 'residual', 'scale', 'softmax', 'v_bias']);
    // Every product reads codes; sums and Softmax read what a product made in float.
    const makers = new Map(model.graph.nodes.map((node) => [node.outputs[0], node]));
    for (const node of model.graph.nodes) {
      const read = node.inputs.map((name) => makers.get(name)?.opType);
      if (node.opType === 'MatMul') assert.deepEqual(read, ['DequantizeLinear', 'DequantizeLinear'], node.name);
      if (['Add', 'Mul', 'Softmax'].includes(node.opType)) assert.ok(!read.includes('DequantizeLinear'), node.name);
    }
    assert.ok(cosine(before, await outputOf(model, x)) > 0.999);
  });

  it('everywhere, the default: sums and Softmax are computed on codes, too', async () => {
    const [default_, everywhere] = [attention(), attention()];
    assert.equal((await apply(quantizeStatic, default_, {}, contextOf(feeds))).changes, 11);
    assert.equal((await apply(quantizeStatic, everywhere, { placement: 'everywhere' }, contextOf(feeds))).changes, 11);
    assert.deepEqual(operators(default_), operators(everywhere));
  });

  for (const placement of ['everywhere', 'layers'] as const) {
    it(`${placement}: Gelu and LayerNormalization stay in float, the products around them are in int8`, async () => {
      const model = feedForward();
      const x = { x: { type: 'float' as const, dims: DIMS, data: noise(48, 100) } };
      const before = await outputOf(model, x);
      const { changes, skipped } = await apply(quantizeStatic, model, { placement }, contextOf(feeds));
      verifyModel(model);
      const reasons = Object.fromEntries(skipped.map(({ node, reason }) => [node, reason]));
      assert.equal(reasons['norm'], 'ONNX Runtime has no int8 kernel for LayerNormalization');
      assert.equal(reasons['gelu'], 'ONNX Runtime has no int8 kernel for Gelu');
      const isLayers = placement === 'layers';
      assert.deepEqual(
        Object.keys(reasons).sort(),
        isLayers ? ['gelu', 'norm', 'residual', 'up_bias'] : ['gelu', 'norm'],
      );
      assert.equal(changes, isLayers ? 2 : 4);
      const makers = new Map(model.graph.nodes.map((node) => [node.outputs[0], node]));
      const readBy = (name: string) =>
        model.graph.nodes.find((node) => node.name === name)!.inputs.map((input) => makers.get(input)?.opType);
      for (const name of ['up', 'down']) assert.deepEqual(readBy(name), ['DequantizeLinear', 'DequantizeLinear'], name);
      // What normalizes reads the input as it came: nobody rounds it first.
      assert.deepEqual(readBy('norm'), [undefined, undefined, undefined]);
      // An int8 sum makes codes, whoever reads them.
      assert.deepEqual(readBy('gelu'), [isLayers ? 'Add' : 'DequantizeLinear']);
      const fused = await optimizedOperators(model);
      assert.deepEqual([fused['LayerNormalization'], fused['MatMul']], [1, undefined]);
      assert.ok(cosine(before, await outputOf(model, x)) > 0.999);
    });
  }
});
