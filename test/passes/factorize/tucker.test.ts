import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode, type AttributeInit } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { factorizeTucker } from '../../../src/passes/factorize/tucker.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { contextOf, net, noise, operators, outputOf, source, weight } from '../quantize/helpers.ts';

const SHAPE = [1, 10, 9, 11];
const FEEDS: Record<string, NdArray> = { x: { type: 'float', dims: SHAPE, data: noise(990, 70) } };
const run = (model: Model, options: object, context: PassContext = contextOf()) =>
  runStep(model, { pass: factorizeTucker, options: factorizeTucker.options.parse(options) }, context);

/** W = core x U x V with a core of [4, 3, 3, 3]. */
function tuckerWeight(): Tensor {
  const [core, u, v] = [noise(4 * 3 * 9, 1), noise(12 * 4, 2), noise(10 * 3, 3)];
  const values = new Float32Array(12 * 10 * 9);
  for (let m = 0; m < 12; m += 1) {
    for (let c = 0; c < 10; c += 1) {
      for (let k = 0; k < 9; k += 1) {
        let sum = 0;
        for (let o = 0; o < 4; o += 1) {
          for (let i = 0; i < 3; i += 1)
            sum += (core[(o * 3 + i) * 9 + k] ?? 0) * (u[m * 4 + o] ?? 0) * (v[c * 3 + i] ?? 0);
        }
        values[(m * 10 + c) * 9 + k] = sum;
      }
    }
  }
  return Tensor.float('w', values, [12, 10, 3, 3]);
}

function conv(tensor: Tensor, attributes: Record<string, AttributeInit> = {}): Model {
  return net({
    nodes: [makeNode('Conv', ['x', 'w', 'b'], ['y'], { attributes, name: 'conv' })],
    tensors: [tensor, weight('b', [tensor.dims[0] ?? 0], 4)],
    inputs: { x: SHAPE },
    outputs: { y: ['n', 12, 'h', 'w'] },
  });
}

function difference(a: Float32Array, b: Float32Array): number {
  let [error, energy] = [0, 0];
  a.forEach((value, i) => {
    error += (value - (b[i] ?? 0)) ** 2;
    energy += value ** 2;
  });
  return Math.sqrt(error / energy);
}

describe('factorize.tucker', () => {
  for (const data of [false, true]) {
    it(`finds the ranks of a weight that has them, and writes it exactly (${data ? 'with' : 'without'} data)`, async () => {
      const attributes = { pads: [1, 0, 2, 1], strides: [2, 1], dilations: [1, 2] };
      const model = conv(tuckerWeight(), attributes);
      const before = await outputOf(model, FEEDS);
      const { changes, details } = await run(model, { energy: 1 }, data ? contextOf(source('x', SHAPE)) : contextOf());
      assert.equal(changes, 1);
      assert.deepEqual(operators(model), { Conv: 3 });
      const [layer] = details['layers'] as { rank: object }[];
      assert.deepEqual(layer?.rank, { input: 3, output: 4 });
      const dims = model.graph.nodes.map(({ inputs }) => model.graph.initializers.get(inputs[1] ?? '')?.dims);
      assert.deepEqual(dims, [
        [3, 10, 1, 1],
        [4, 3, 3, 3],
        [12, 4, 1, 1],
      ]);
      // float32 weights in three layers instead of one.
      assert.ok(difference(before, await outputOf(model, FEEDS)) < 1e-4);
    });
  }

  it('meets macsRatio, as counted from the result', async () => {
    const model = conv(weight('w', [12, 10, 3, 3], 5), { pads: [1, 1, 1, 1] });
    const before = macsOf(model).total;
    const { details } = await run(model, { macsRatio: 0.6 });
    const after = macsOf(model).total;
    assert.deepEqual(details['macs'], { before, after });
    assert.ok(after <= 0.6 * before && after > 0.5 * before);
  });

  it('takes ranks by number and by share', async () => {
    for (const [options, expected] of [
      [{ rank: 2 }, { input: 2, output: 2 }],
      [{ rank: 0.5 }, { input: 5, output: 6 }],
      [{ ranks: { conv: 0.5 } }, { input: 5, output: 6 }],
    ] as const) {
      const { details } = await run(conv(weight('w', [12, 10, 3, 3], 5)), options);
      const [layer] = details['layers'] as { rank: object }[];
      assert.deepEqual(layer?.rank, expected);
    }
  });

  it('loses no more than the truncated higher-order SVD would, whose error the tails of both modes bound', async () => {
    const model = conv(weight('w', [12, 10, 3, 3], 6));
    const { details } = await run(model, { rank: 4 });
    const [layer] = details['layers'] as { error: number }[];
    assert.ok(layer !== undefined && layer.error > 0.1 && layer.error < 0.9);
    const without = await outputOf(conv(weight('w', [12, 10, 3, 3], 6)), FEEDS);
    const share = difference(without, await outputOf(model, FEEDS));
    // Inputs of noise: the outputs' error is near the weights'.
    assert.ok(Math.abs(share ** 2 / layer.error - 1) < 0.5, `${share ** 2} ${layer.error}`);
  });

  it('leaves 1x1 convolutions and products to factorize.svd, and says so; gives the same bytes twice', async () => {
    const small = net({
      nodes: [makeNode('Conv', ['x', 'w'], ['y'], { name: 'conv' })],
      tensors: [weight('w', [12, 10, 1, 1])],
      inputs: { x: SHAPE },
      outputs: { y: [1, 12, 9, 11] },
    });
    const { changes, skipped } = await run(small, {});
    assert.equal(changes, 0);
    assert.match(skipped[0]?.reason ?? '', /factorize\.svd/);
    const [a, b] = [conv(weight('w', [12, 10, 3, 3])), conv(weight('w', [12, 10, 3, 3]))];
    for (const model of [a, b]) await run(model, { rank: 3 }, contextOf(source('x', SHAPE)));
    assert.deepEqual(encodeModel(a), encodeModel(b));
  });
});
