import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../../src/onnx/cost/types-for-cost.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { graphOf, modelOf } from '../inference/models.ts';

const zeros = (name: string, dims: number[]): Tensor => {
  const data = new Float32Array(dims.reduce((product, size) => product * size, 1));
  return Tensor.fromArray(name, { type: 'float', dims, data });
};
const bytes = (name: string, dims: number[], type: 'int8' | 'uint8' = 'int8'): Tensor => {
  const count = dims.reduce((product, size) => product * size, 1);
  return Tensor.fromArray(name, { type, dims, data: type === 'int8' ? new Int8Array(count) : new Uint8Array(count) });
};

/** MACs of one node over x and initializers. */
function macs(node: Node, x: readonly (number | string)[], initializers: Tensor[], more = {}): number {
  const model = modelOf({
    nodes: [node],
    inputs: [tensorValue('x', 'float', x)],
    initializers,
    opsets: { '': 21, 'com.microsoft': 1 },
    ...more,
  });
  const result = macsOf(model);
  assert.deepEqual(result.unknown, []);
  return result.total;
}

describe('macsOf counts by the textbook formula', () => {
  it('Conv: outputs times kernel times channels per group', () => {
    // ResNet-50 stem at 224: 112 * 112 * 64 * 7 * 7 * 3 = 118,013,952
    const stem = makeNode('Conv', ['x', 'w'], ['y'], { attributes: { strides: [2, 2], pads: [3, 3, 3, 3] } });
    assert.equal(macs(stem, ['N', 3, 224, 224], [zeros('w', [64, 3, 7, 7])]), 118_013_952);
    // depthwise 3x3 at 112, 32 channels: 112 * 112 * 32 * 9
    const depthwise = makeNode('Conv', ['x', 'w'], ['y'], { attributes: { group: 32, pads: [1, 1, 1, 1] } });
    assert.equal(macs(depthwise, ['N', 32, 112, 112], [zeros('w', [32, 1, 3, 3])]), 3_612_672);
  });

  it('ConvTranspose: inputs times kernel times output channels per group', () => {
    const node = makeNode('ConvTranspose', ['x', 'w'], ['y'], { attributes: { strides: [2, 2] } });
    assert.equal(macs(node, [1, 8, 10, 10], [zeros('w', [8, 4, 2, 2])]), 10 * 10 * 8 * 4 * 4);
  });

  it('Gemm and MatMul with batch', () => {
    const gemm = makeNode('Gemm', ['x', 'w'], ['y'], { attributes: { transB: 1 } });
    assert.equal(macs(gemm, ['N', 64], [zeros('w', [10, 64])]), 640);
    const transposed = makeNode('Gemm', ['x', 'w'], ['y'], { attributes: { transA: 1 } });
    assert.equal(macs(transposed, [64, 3], [zeros('w', [64, 10])]), 3 * 64 * 10);
    assert.equal(macs(makeNode('MatMul', ['x', 'x'], ['y']), [2, 12, 7, 7], []), 2 * 12 * 7 * 7 * 7);
  });

  it('recurrent layers: steps times gates times hidden times (input + hidden)', () => {
    const lstm = makeNode('LSTM', ['x', 'w', 'r'], ['y'], {
      attributes: { hidden_size: 32, direction: 'bidirectional' },
    });
    const weights = [zeros('w', [2, 128, 16]), zeros('r', [2, 128, 32])];
    assert.equal(macs(lstm, [5, 1, 16], weights), 5 * 2 * 4 * 32 * (16 + 32));
  });

  it('packed and quantized products, with the bits of their operands', () => {
    const packed = makeNode('MatMulNBits', ['x', 'w', 's'], ['y'], {
      domain: 'com.microsoft',
      attributes: { K: 64, N: 32, bits: 4, block_size: 32 },
    });
    const model = modelOf({
      nodes: [packed],
      inputs: [tensorValue('x', 'float', [1, 64])],
      initializers: [bytes('w', [32, 2, 16], 'uint8'), zeros('s', [64])],
      opsets: { '': 21, 'com.microsoft': 1 },
    });
    const { total, bitOperations } = macsOf(model);
    assert.deepEqual([total, bitOperations], [64 * 32, 64 * 32 * 32 * 4]);
  });

  it('looks through DequantizeLinear for the bits', () => {
    const nodes = [
      makeNode('QuantizeLinear', ['x', 'xs', 'xz'], ['q']),
      makeNode('DequantizeLinear', ['q', 'xs', 'xz'], ['d']),
      makeNode('DequantizeLinear', ['w', 'ws'], ['dw']),
      makeNode('Conv', ['d', 'dw'], ['y']),
    ];
    const model = modelOf({
      nodes,
      inputs: [tensorValue('x', 'float', ['N', 3, 8, 8])],
      initializers: [zeros('xs', []), bytes('xz', [], 'uint8'), bytes('w', [4, 3, 1, 1]), zeros('ws', [])],
    });
    const [conv] = macsOf(model).nodes;
    assert.deepEqual([conv?.macs, conv?.activationBits, conv?.weightBits], [4 * 3 * 64, 8, 8]);
  });
  it('looks through DequantizeLinear and scales beside it for the bits', () => {
    const nodes = [
      makeNode('QuantizeLinear', ['x', 'xs', 'xz'], ['q']),
      makeNode('DequantizeLinear', ['q', 'xs', 'xz'], ['d']),
      makeNode('DequantizeLinear', ['w', 'ws'], ['steps']),
      makeNode('Mul', ['steps', 'scale'], ['dw']),
      makeNode('Conv', ['d', 'dw'], ['y']),
    ];
    const model = modelOf({
      nodes,
      inputs: [tensorValue('x', 'float', ['N', 3, 8, 8])],
      initializers: [
        zeros('xs', []),
        bytes('xz', [], 'uint8'),
        bytes('w', [4, 3, 1, 1]),
        zeros('ws', []),
        zeros('scale', [4, 1, 1, 1]),
      ],
    });
    const [conv] = macsOf(model).nodes;
    assert.deepEqual([conv?.macs, conv?.activationBits, conv?.weightBits], [4 * 3 * 64, 8, 8]);
  });

  it('the example net: 9,345,920 MACs as onnx.shape_inference and the same formula give', () => {
    const file = new URL('../../fixtures/onnx/pytorch-resnet8.onnx', import.meta.url);
    const { total, unknown } = macsOf(decodeModel(readFileSync(file)));
    assert.deepEqual([total, unknown], [9_345_920, []]);
  });
});

describe('macsOf conventions', () => {
  const conv = makeNode('Conv', ['x', 'w'], ['y'], {});
  const model = modelOf({
    nodes: [conv],
    inputs: [tensorValue('x', 'float', ['N', 3, 'h', 'h'])],
    initializers: [zeros('w', [4, 3, 1, 1])],
  });

  it('reports nodes behind open symbols, and counts them when sizes are given', () => {
    const open = macsOf(model);
    assert.deepEqual([open.total, open.unknown.map(({ node }) => node)], [0, [conv]]);
    assert.equal(macsOf(model, typesAtBatchOne(model, { h: 8 })).total, 4 * 3 * 64);
  });

  it('takes the costlier branch of an If and a fixed number of Loop rounds', () => {
    const product = (weight: string, output: string): Node => makeNode('MatMul', ['x', weight], [output]);
    const branch = (weight: string): ReturnType<typeof graphOf> =>
      graphOf({ nodes: [product(weight, 'o')], outputs: [{ name: 'o' }] });
    const body = graphOf({
      nodes: [product('small', 'o'), makeNode('Identity', ['c_in'], ['c_out'])],
      inputs: [{ name: 'i' }, { name: 'c_in' }],
      outputs: [{ name: 'c_out' }, { name: 'o' }],
    });
    const both = modelOf({
      nodes: [
        makeNode('If', ['c'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('small') },
            else_branch: { kind: 'graph', value: branch('large') },
          },
        }),
        makeNode('Loop', ['m', ''], ['z'], { attributes: { body: { kind: 'graph', value: body } } }),
      ],
      inputs: [tensorValue('x', 'float', [1, 4]), tensorValue('c', 'bool', [])],
      initializers: [zeros('small', [4, 2]), zeros('large', [4, 50]), Tensor.int64('m', [6], [])],
    });
    assert.equal(macsOf(both).total, 4 * 50 + 6 * 4 * 2);
  });
});
