import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { makeNode, Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { repairModel } from '../../../src/onnx/verify/repair-model.ts';
import { isTopologicallySorted, topologicalOrder } from '../../../src/onnx/verify/topological-order.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { graphOf, modelOf } from '../inference/models.ts';

describe('topologicalOrder', () => {
  it('sorts any shuffle of an acyclic graph, and keeps the order of a sorted one', () => {
    const graphs = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(graphs, (seeds) => {
        const nodes = seeds.map(([a, b], index) => {
          const pick = (seed: number): string => (index === 0 ? 'x' : `v${seed % index}`);
          return makeNode('Add', [pick(a), pick(b)], [`v${index}`]);
        });
        const sorted = graphOf({ nodes });
        assert.ok(isTopologicallySorted(sorted));
        assert.deepEqual(topologicalOrder(sorted), nodes);
        const keys = new Map(nodes.map((node, index) => [node, seeds[index]?.[2] ?? 0]));
        const shuffled = graphOf({ nodes: [...nodes].sort((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0)) });
        const order = topologicalOrder(shuffled);
        assert.equal(new Set(order).size, nodes.length);
        assert.ok(isTopologicallySorted(graphOf({ nodes: order })));
      }),
    );
  });

  it('counts what a subgraph reads as a read of its node', () => {
    const body = graphOf({ nodes: [makeNode('Relu', ['late'], ['o'])], outputs: [{ name: 'o' }] });
    const node = makeNode('If', ['c'], ['y'], {
      attributes: { then_branch: { kind: 'graph', value: body }, else_branch: { kind: 'graph', value: body } },
    });
    const late = makeNode('Relu', ['x'], ['late']);
    assert.deepEqual(topologicalOrder(graphOf({ nodes: [node, late] })), [late, node]);
  });
});

describe('repairModel', () => {
  const constant = (value: number): Node =>
    makeNode('Constant', [], ['k'], { attributes: { value: { kind: 'tensor', value: Tensor.float('', [value]) } } });

  it('sorts, and keeps the last of Constant nodes with one name, as ONNX Runtime does', () => {
    const last = constant(2);
    const model = modelOf({
      nodes: [constant(1), makeNode('Add', ['a', 'k'], ['y']), makeNode('Relu', ['x'], ['a']), last],
      inputs: [tensorValue('x', 'float', [1])],
      outputs: [tensorValue('y', 'float')],
    });
    assert.throws(() => verifyModel(model));
    assert.deepEqual(repairModel(model), { sortedGraphs: 1, droppedConstants: 1 });
    verifyModel(model);
    assert.ok(model.graph.nodes.includes(last));
    assert.deepEqual(repairModel(model), { sortedGraphs: 0, droppedConstants: 0 });
  });

  it('does not hide other nodes that share an output name', () => {
    const model = modelOf({
      nodes: [makeNode('Relu', ['x'], ['y']), makeNode('Neg', ['x'], ['y'])],
      inputs: [tensorValue('x', 'float', [1])],
      outputs: [tensorValue('y', 'float')],
    });
    repairModel(model);
    assert.throws(() => verifyModel(model), /defined more than once/);
  });
});
