import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { summarizeModel } from '../../../src/onnx/print/summarize-model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';

describe('summarizeModel', () => {
  it('gives the facts of the example model', () => {
    const summary = summarizeModel(
      decodeModel(new Uint8Array(readFileSync('test/fixtures/onnx/pytorch-resnet8.onnx'))),
    );
    // Read with the Python onnx package: onnx.load, Counter of op_type, sum of np.prod(dims) over the initializers.
    assert.deepEqual(summary, {
      irVersion: 8,
      opset: { '': 17 },
      producer: 'pytorch 2.15.0',
      inputs: [{ name: 'image', type: 'float', shape: ['batch', 1, 28, 28] }],
      outputs: [{ name: 'logits', type: 'float', shape: ['batch', 10] }],
      operators: {
        Add: 3,
        BatchNormalization: 9,
        Conv: 9,
        Flatten: 1,
        Gemm: 1,
        GlobalAveragePool: 1,
        Identity: 2,
        Relu: 7,
      },
      parameters: 78330,
    });
  });

  it('leaves out inputs that have defaults, and looks into subgraphs', () => {
    const body = new Graph({
      name: 'then',
      nodes: [makeNode('Mul', ['x', 'half'], ['y1'])],
      initializers: new Map([['half', Tensor.float('half', [0.5, 0.5])]]),
      outputs: [tensorValue('y1', 'float')],
    });
    const model = new Model({
      opsetImports: new Map([['', 21]]),
      graph: new Graph({
        name: 'g',
        inputs: [tensorValue('x', 'float', ['N', 2]), tensorValue('w', 'float', [2]), tensorValue('c', 'bool', [])],
        outputs: [{ name: 'z', type: { kind: 'sequence', element: { kind: 'tensor', elementType: 'float' } } }],
        initializers: new Map([
          ['w', Tensor.float('w', [1, 2])],
          ['shape', Tensor.int64('shape', [1, 2])],
        ]),
        nodes: [
          makeNode('If', ['c'], ['y'], { attributes: { then_branch: { kind: 'graph', value: body } } }),
          makeNode('Gelu', ['y'], ['z'], { domain: 'com.microsoft' }),
        ],
      }),
    });
    const summary = summarizeModel(model);
    assert.deepEqual(
      summary.inputs.map(({ name }) => name),
      ['x', 'c'],
    );
    assert.deepEqual(summary.outputs, [{ name: 'z', type: 'seq(float[])', shape: null }]);
    assert.deepEqual(summary.operators, { If: 1, Mul: 1, 'com.microsoft:Gelu': 1 });
    assert.equal(summary.parameters, 4);
  });

  it('counts weights of quantized operators, not their scales and zero points', () => {
    const int8 = (name: string, count: number): Tensor =>
      Tensor.fromArray(name, { type: 'int8', dims: [count], data: new Int8Array(count) });
    const model = new Model({
      opsetImports: new Map([['', 21]]),
      graph: new Graph({
        name: 'g',
        initializers: new Map([
          ['w', int8('w', 6)],
          ['s', Tensor.float('s', [0.1])],
          ['z', int8('z', 1)],
          ['b', Tensor.fromArray('b', { type: 'int32', dims: [3], data: new Int32Array(3) })],
        ]),
        nodes: [
          makeNode('DequantizeLinear', ['w', 's', 'z'], ['wf']),
          makeNode('DequantizeLinear', ['b', 's'], ['bf']),
        ],
      }),
    });
    assert.equal(summarizeModel(model).parameters, 9);
  });

  it('does not throw on a model that is not verified yet', () => {
    const attributes = { N: 'ten', K: 2n ** 62n };
    const nodes = [makeNode('MatMulNBits', ['x', 'w'], ['y'], { attributes, domain: 'com.microsoft' })];
    const initializers = new Map([['w', Tensor.float('w', [1])]]);
    const model = new Model({ opsetImports: new Map(), graph: new Graph({ name: 'g', nodes, initializers }) });
    assert.equal(summarizeModel(model).parameters, 0);
  });
});
