import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { Graph } from '../../../src/onnx/graph.ts';
import { Model } from '../../../src/onnx/model.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue, type ValueInfo } from '../../../src/onnx/value-type.ts';
import { inferTypes } from '../../../src/onnx/inference/infer-types.ts';

function model(nodes: Node[], inputs: ValueInfo[], initializers: Tensor[] = [], outputs: ValueInfo[] = []): Model {
  const graph = new Graph({
    name: 'g',
    nodes,
    inputs,
    outputs,
    initializers: new Map(initializers.map((tensor) => [tensor.name, tensor])),
  });
  return new Model({ graph, opsetImports: new Map([['', 17]]) });
}

const floats = (name: string, dims: number[]): Tensor =>
  Tensor.float(name, new Float32Array(dims.reduce((product, size) => product * size, 1)), dims);

describe('inferTypes', () => {
  it('keeps a symbolic batch through a small classifier', () => {
    const { graph, ...rest } = model(
      [
        makeNode('Conv', ['x', 'w'], ['c'], { attributes: { strides: [2, 2], pads: [1, 1, 1, 1] } }),
        makeNode('Relu', ['c'], ['r']),
        makeNode('GlobalAveragePool', ['r'], ['p']),
        makeNode('Flatten', ['p'], ['f']),
        makeNode('Gemm', ['f', 'm', 'b'], ['y'], { attributes: { transB: 1 } }),
      ],
      [tensorValue('x', 'float', ['N', 3, 32, 'w'])],
      [floats('w', [8, 3, 3, 3]), floats('m', [10, 8]), floats('b', [10])],
    );
    const table = inferTypes(new Model({ graph, opsetImports: rest.opsetImports }));
    // 32: floor((32 + 2 - 3)/2) + 1 = 16; w: floor((w - 1)/2) + 1 = floor((w + 1)/2)
    assert.deepEqual(table.shape(graph, 'c'), ['N', 8, 16, 'floor((w + 1)/2)']);
    assert.deepEqual(table.shape(graph, 'f'), ['N', 8]);
    assert.deepEqual(table.of(graph, 'y'), { kind: 'tensor', elementType: 'float', shape: ['N', 10] });
    assert.deepEqual([table.unknown, table.conflicts], [[], []]);
  });

  it('follows sizes through Shape, Gather, Concat and Reshape', () => {
    const { graph } = model(
      [
        makeNode('Shape', ['x'], ['s']),
        makeNode('Gather', ['s', 'zero'], ['n']),
        makeNode('Unsqueeze', ['n', 'axes'], ['n1']),
        makeNode('Concat', ['n1', 'rest'], ['target'], { attributes: { axis: 0 } }),
        makeNode('Reshape', ['x', 'target'], ['y']),
      ],
      [tensorValue('x', 'float', ['N', 4, 6])],
      [Tensor.int64('zero', [0], []), Tensor.int64('axes', [0]), Tensor.int64('rest', [2, -1])],
    );
    const symbolic = inferTypes(new Model({ graph, opsetImports: new Map([['', 17]]) }));
    assert.deepEqual(symbolic.shape(graph, 'y'), ['N', 2, 12]);
    assert.equal(symbolic.constant(graph, 'target'), undefined);
    const fixed = inferTypes(new Model({ graph, opsetImports: new Map([['', 17]]) }), { symbols: { N: 5 } });
    assert.deepEqual(fixed.constant(graph, 'target'), [5, 2, -1]);
    assert.deepEqual(fixed.shape(graph, 'y'), [5, 2, 12]);
  });

  it('reports a node that cannot run, and goes on', () => {
    const add = makeNode('Add', ['a', 'b'], ['c'], { name: 'sum' });
    const { graph } = model(
      [add, makeNode('Relu', ['c'], ['d'])],
      [tensorValue('a', 'float', [2, 3]), tensorValue('b', 'float', [2, 4])],
    );
    const table = inferTypes(new Model({ graph, opsetImports: new Map([['', 17]]) }));
    assert.equal(table.conflicts.length, 1);
    assert.equal(table.conflicts[0]?.message, 'Add "sum": shapes [2, 3] and [2, 4] do not broadcast');
    assert.equal(table.of(graph, 'd'), undefined);
  });

  it('lets what is inferred win over a stale declaration', () => {
    const { graph } = model(
      [makeNode('Relu', ['x'], ['y'])],
      [tensorValue('x', 'float', ['N', 3])],
      [],
      [tensorValue('y', 'float', [1, 4])],
    );
    const table = inferTypes(new Model({ graph, opsetImports: new Map([['', 17]]) }));
    assert.deepEqual(table.shape(graph, 'y'), ['N', 3]);
    assert.equal(table.conflicts[0]?.kind, 'shape');
  });
});
