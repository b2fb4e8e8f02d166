import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { channelAxis } from '../../../src/passes/quantize/placement.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { apply, contextOf, net, noise, outputOf, source, weight } from './helpers.ts';

const DIMS = [1, 4, 6, 6];
const context = contextOf(source('x', DIMS));

/** Two convolutions of the same input range that share weight and bias. */
function twins(bias: Tensor, w = weight('w', [4, 4, 1, 1])) {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w', 'b'], ['c'], { name: 'first' }),
      makeNode('Conv', ['c', 'w', 'b'], ['y'], { name: 'second' }),
    ],
    tensors: [w, bias],
    inputs: { x: DIMS },
    outputs: { y: DIMS },
  });
}

/** Inputs of a node's DequantizeLinear: codes and scale, as numbers. */
function dequantized(model: ReturnType<typeof net>, nodeName: string, input: number) {
  const node = model.graph.nodes.find(({ name }) => name === nodeName)!;
  const dequantize = model.graph.nodes.find(({ outputs }) => outputs[0] === node.inputs[input])!;
  const tensor = (index: number) => model.graph.initializers.get(dequantize.inputs[index]!);
  return { name: dequantize.inputs[0]!, codes: tensor(0)?.integers() ?? [], scales: tensor(1)!.floats() };
}

describe('bias in int32', () => {
  it('has the scale of the products, and each consumer of a shared bias its own', async () => {
    const model = twins(weight('b', [4], 8));
    await apply(quantizeStatic, model, {}, context);
    const names = ['first', 'second'].map((name) => {
      const [x, w, b] = [0, 1, 2].map((input) => dequantized(model, name, input));
      b!.scales.forEach((scale, channel) => assert.equal(scale, Math.fround(x!.scales[0]! * w!.scales[channel]!)));
      return b!.name;
    });
    assert.notEqual(names[0], names[1]);
  });

  it('widens the weight scale when it would not fit, and quantizes the weight with the widened scale', async () => {
    const tiny = Tensor.float(
      'w',
      noise(16, 3).map((value) => value * 1e-9),
      [4, 4, 1, 1],
    );
    const model = twins(Tensor.float('b', [5, 0, -5, 1]), tiny);
    const feeds = { x: { type: 'float', dims: DIMS, data: noise(144, 100) } } as const;
    const before = await outputOf(model, feeds);
    await apply(quantizeStatic, model, {}, context);
    const bias = dequantized(model, 'first', 2);
    const w = dequantized(model, 'first', 1);
    assert.ok(bias.codes.every((code) => Math.abs(code) <= 2 ** 31 - 1));
    // Channel 0: |b| / (s_x * s_w) just fits. The bias is reproduced, not clipped.
    assert.ok(Math.abs(bias.codes[0]! * bias.scales[0]! - 5) < 1e-3);
    assert.ok(w.scales[0]! > 1e-9 / 64);
    const after = await outputOf(model, feeds);
    before.forEach((value, i) => assert.ok(Math.abs(value - after[i]!) < 0.05));
  });
});

describe('channelAxis', () => {
  it('knows where each operator keeps its output channels', () => {
    const node = (opType: string, attributes = {}) => makeNode(opType, [], [], { attributes });
    assert.equal(channelAxis(node('Conv'), 4), 0);
    assert.equal(channelAxis(node('MatMul'), 2), 1);
    assert.equal(channelAxis(node('MatMul'), 3), 2);
    assert.equal(channelAxis(node('Gemm'), 2), 1);
    assert.equal(channelAxis(node('Gemm', { transB: 1 }), 2), 0);
    assert.equal(channelAxis(node('ConvTranspose'), 4), 1);
    // [C, M/group, ...]: with groups axis 1 is only a part of the output channels.
    assert.equal(channelAxis(node('ConvTranspose', { group: 2 }), 4), undefined);
  });

  it('gives way to one scale for a batch of matrices, which is all that ONNX Runtime runs', async () => {
    const model = net({
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' })],
      tensors: [weight('w', [2, 6, 5])],
      inputs: { x: [2, 3, 6] },
      outputs: { y: [2, 3, 5] },
    });
    await apply(quantizeStatic, model, {}, contextOf(source('x', [2, 3, 6])));
    assert.equal(dequantized(model, 'product', 1).scales.length, 1);
    await outputOf(model, { x: { type: 'float', dims: [2, 3, 6], data: noise(36) } });
  });
});
