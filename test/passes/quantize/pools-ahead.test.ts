import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { apply, contextOf, net, noise, optimizedModel, outputOf, source, weight } from './helpers.ts';

const DIMS = [1, 4, 8, 8];
const feeds = { x: { type: 'float', dims: DIMS, data: noise(256, 7) } } as const;
const pads = [1, 1, 1, 1];
const conv = (name: string, input: string, output: string): Node =>
  makeNode('Conv', [input, `w_${name}`], [output], { attributes: { pads }, name });
const pool = (input: string, output: string): Node =>
  makeNode('MaxPool', [input], [output], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });

/** A convolution that is to stay in float, what stands between, and one in int8 that reads "p". */
function stem(between: readonly Node[], outputs: Readonly<Record<string, readonly number[]>> = {}): Model {
  return net({
    nodes: [conv('first', 'x', 'c'), ...between, conv('second', 'p', 'y')],
    tensors: [
      weight('w_first', [4, 4, 3, 3]),
      weight('w_second', [4, 4, 3, 3], 2),
      Tensor.float('low', [-0.25], []),
      Tensor.float('high', [0.5], []),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 4, 4, 4], ...outputs },
  });
}

async function quantized(model: Model): Promise<Model> {
  await apply(quantizeStatic, model, { exclude: ['first'] }, contextOf(source('x', DIMS)));
  verifyModel(model);
  return model;
}

const order = (model: Model): string => model.graph.nodes.map(({ opType }) => opType).join(' ');

for (const [opType, operands] of [
  ['Relu', []],
  ['Clip', ['low', 'high']],
] as const) {
  const activation = (input: string, output: string): Node => makeNode(opType, [input, ...operands], [output]);

  describe(`a MaxPool in float behind ${opType}, ahead of int8`, () => {
    it('has it behind, with the same result', async () => {
      const model = await quantized(stem([activation('c', 'r'), pool('r', 'p')]));
      assert.match(order(model), new RegExp(`^Conv MaxPool ${opType} QuantizeLinear`));
      const written = await quantized(stem([pool('c', 'm'), activation('m', 'p')]));
      assert.deepEqual(await outputOf(model, feeds), await outputOf(written, feeds));
    });

    it('is not worked on in codes by ONNX Runtime, which drops the activation', async () => {
      const fused = await optimizedModel(await quantized(stem([activation('c', 'r'), pool('r', 'p')])));
      assert.match(order(fused), /^Conv MaxPool QuantizeLinear QLinearConv/);
    });

    it('has it where it was when others read it', async () => {
      const model = await quantized(stem([activation('c', 'r'), pool('r', 'p')], { r: DIMS }));
      assert.match(order(model), new RegExp(`^Conv ${opType} MaxPool QuantizeLinear`));
    });
  });
}

describe('a MaxPool in float ahead of float', () => {
  it('has its activation where it was', async () => {
    const model = stem([makeNode('Relu', ['c'], ['r']), pool('r', 'm'), conv('third', 'm', 'q'), pool('q', 'p')]);
    model.graph.initializers.set('w_third', weight('w_third', [4, 4, 3, 3], 3));
    model.graph.outputs = [tensorValue('y', 'float', [1, 4, 2, 2])];
    await apply(quantizeStatic, model, { exclude: ['first', 'third'] }, contextOf(source('x', DIMS)));
    assert.match(order(model), /^Conv Relu MaxPool Conv MaxPool QuantizeLinear/);
  });
});
