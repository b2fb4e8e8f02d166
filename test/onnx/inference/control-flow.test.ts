import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { annotate } from '../../../src/onnx/inference/annotate.ts';
import { inferTypes } from '../../../src/onnx/inference/infer-types.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { functionOf, graphOf, modelOf } from './models.ts';

const x = tensorValue('x', 'float', ['N', 4]);

describe('inferTypes through control flow', () => {
  const branch = (axis: number): ReturnType<typeof graphOf> =>
    graphOf({
      nodes: [makeNode('Concat', ['x', 'x'], ['out'], { attributes: { axis } })],
      outputs: [tensorValue('out', 'float')],
    });

  it('keeps of an If what both branches agree on, and sees outer values inside', () => {
    const [thenGraph, elseGraph] = [branch(0), branch(1)];
    const node = makeNode('If', ['c'], ['y'], {
      attributes: {
        then_branch: { kind: 'graph', value: thenGraph },
        else_branch: { kind: 'graph', value: elseGraph },
      },
    });
    const model = modelOf({ nodes: [node], inputs: [x, tensorValue('c', 'bool', [])] });
    const table = inferTypes(model);
    assert.deepEqual(table.shape(thenGraph, 'out'), ['2*N', 4]);
    assert.deepEqual(table.shape(elseGraph, 'out'), ['N', 8]);
    assert.deepEqual(table.shape(model.graph, 'y'), [null, null]);
    assert.deepEqual(table.shape(elseGraph, 'x'), ['N', 4]);
  });

  it('widens what a Loop changes from round to round, and stacks its scan outputs', () => {
    const body = graphOf({
      nodes: [
        makeNode('Concat', ['grown', 'x'], ['grown_out'], { attributes: { axis: 0 } }),
        makeNode('Relu', ['kept'], ['kept_out']),
        makeNode('Identity', ['cond'], ['cond_out']),
        makeNode('Relu', ['x'], ['scan']),
      ],
      inputs: ['i', 'cond', 'grown', 'kept'].map((name) => ({ name })),
      outputs: ['cond_out', 'grown_out', 'kept_out', 'scan'].map((name) => ({ name })),
    });
    const loop = makeNode('Loop', ['m', '', 'x', 'x'], ['a', 'b', 's'], {
      attributes: { body: { kind: 'graph', value: body } },
    });
    const model = modelOf({ nodes: [loop], inputs: [x], initializers: [Tensor.int64('m', [7], [])] });
    const table = inferTypes(model);
    assert.deepEqual(table.shape(model.graph, 'a'), [null, 4]);
    assert.deepEqual(table.shape(model.graph, 'b'), ['N', 4]);
    assert.deepEqual(table.shape(model.graph, 's'), [7, 'N', 4]);
  });

  it('follows Scan over an axis', () => {
    const body = graphOf({
      nodes: [makeNode('Add', ['state', 'row'], ['next']), makeNode('Identity', ['next'], ['row_out'])],
      inputs: [{ name: 'state' }, { name: 'row' }],
      outputs: [{ name: 'next' }, { name: 'row_out' }],
    });
    const scan = makeNode('Scan', ['zero', 'x'], ['last', 'all'], {
      attributes: { body: { kind: 'graph', value: body }, num_scan_inputs: 1, scan_output_axes: [1] },
    });
    const model = modelOf({ nodes: [scan], inputs: [x], initializers: [Tensor.float('zero', [0, 0, 0, 0])] });
    const table = inferTypes(model);
    assert.deepEqual(table.shape(model.graph, 'last'), [4]);
    assert.deepEqual(table.shape(model.graph, 'all'), [4, 'N']);
  });

  it('expands a model-local function at each call, with its attributes', () => {
    const body = functionOf(
      'Merge',
      [
        makeNode('Concat', ['x', 'x'], ['c'], {
          attributes: { axis: { kind: 'reference', refAttrName: 'along', type: 2 } },
        }),
        makeNode('Relu', ['c'], ['y']),
      ],
      { attributes: new Map([['along', { kind: 'int', value: 0n }]]) },
    );
    const model = modelOf({
      nodes: [
        makeNode('Merge', ['x'], ['a'], { domain: 'test' }),
        makeNode('Merge', ['x'], ['b'], { domain: 'test', attributes: { along: 1 } }),
      ],
      inputs: [x],
      functions: [body],
    });
    const table = inferTypes(model);
    assert.deepEqual(table.shape(model.graph, 'a'), ['2*N', 4]);
    assert.deepEqual(table.shape(model.graph, 'b'), ['N', 8]);
  });

  it('ends on a function that calls itself', () => {
    const recursive = functionOf('Again', [makeNode('Again', ['x'], ['y'], { domain: 'test' })]);
    const model = modelOf({
      nodes: [makeNode('Again', ['x'], ['y'], { domain: 'test' })],
      inputs: [x],
      functions: [recursive],
    });
    assert.equal(inferTypes(model).of(model.graph, 'y'), undefined);
  });
});

describe('inferTypes', () => {
  it('does not take an overridable initializer for a constant (IR 4 and later)', () => {
    const parts = {
      nodes: [makeNode('Reshape', ['x', 'target'], ['y'])],
      inputs: [x, tensorValue('target', 'int64', [2])],
      initializers: [Tensor.int64('target', [2, -1])],
    };
    const [newer, older] = [modelOf({ ...parts, irVersion: 8 }), modelOf({ ...parts, irVersion: 3 })];
    assert.deepEqual(inferTypes(newer).shape(newer.graph, 'y'), [null, null]);
    assert.deepEqual(inferTypes(older).shape(older.graph, 'y'), [2, '2*N']);
  });

  it('takes other input shapes, and then no declared inner ones', () => {
    const model = modelOf({
      nodes: [makeNode('Relu', ['x'], ['r']), makeNode('Unknown', ['r'], ['y'], { domain: 'other' })],
      inputs: [x],
      valueInfos: [tensorValue('y', 'float', ['N', 9])],
    });
    assert.deepEqual(inferTypes(model).shape(model.graph, 'y'), ['N', 9]);
    const other = inferTypes(model, { inputShapes: { x: [3, 5] } });
    assert.deepEqual(other.shape(model.graph, 'r'), [3, 5]);
    assert.deepEqual(other.of(model.graph, 'y'), { kind: 'tensor', elementType: 'float' });
    assert.equal(other.unknown.length, 1);
  });

  it('names a size that only the data decides, the same wherever it goes', () => {
    const model = modelOf({
      nodes: [makeNode('NonZero', ['x'], ['z']), makeNode('Transpose', ['z'], ['t'])],
      inputs: [x],
    });
    assert.deepEqual(inferTypes(model).shape(model.graph, 't'), ['z_size', 2]);
  });

  it('orders the nodes of an unsorted graph for itself and leaves the graph alone', () => {
    const nodes = [makeNode('Relu', ['a'], ['y']), makeNode('Relu', ['x'], ['a'])];
    const model = modelOf({ nodes, inputs: [x] });
    assert.deepEqual(inferTypes(model).shape(model.graph, 'y'), ['N', 4]);
    assert.deepEqual(model.graph.nodes, nodes);
  });

  it('annotates inner values, drops stale entries and counts', () => {
    const model = modelOf({
      nodes: [makeNode('Relu', ['x'], ['a']), makeNode('Relu', ['a'], ['y'])],
      inputs: [x],
      outputs: [tensorValue('y', 'float')],
      valueInfos: [tensorValue('gone', 'float', [1])],
    });
    assert.equal(annotate(model), 2);
    assert.deepEqual([...model.graph.valueInfos.keys()], ['a']);
    assert.equal(annotate(model), 0);
    assert.deepEqual(model.graph.outputs[0]?.type, { kind: 'tensor', elementType: 'float' });
  });
});
