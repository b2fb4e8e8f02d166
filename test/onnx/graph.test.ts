import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph, NameScope, allNames, outerNames, producersOf, usesOf, withSubgraphs } from '../../src/onnx/graph.ts';
import { attributeOf, describeNode, makeNode } from '../../src/onnx/node.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';

/** main: r = Relu(x); y = If(c) whose branch reads r, its own w, and (one level deeper) x. */
const inner = new Graph({
  name: 'inner',
  nodes: [makeNode('Neg', ['x'], ['n'])],
  outputs: [tensorValue('n', 'float')],
});
const branch = new Graph({
  name: 'branch',
  nodes: [
    makeNode('Add', ['r', 'w'], ['s']),
    makeNode('If', ['c2'], ['t'], { attributes: { then_branch: { kind: 'graph', value: inner } } }),
  ],
  initializers: new Map([['w', Tensor.float('w', [1])]]),
  outputs: [tensorValue('s', 'float')],
});
const relu = makeNode('Relu', ['x'], ['r'], { name: 'act' });
const choose = makeNode('If', ['c'], ['y'], { attributes: { then_branch: { kind: 'graph', value: branch } } });
const graph = new Graph({
  name: 'main',
  inputs: [tensorValue('x', 'float'), tensorValue('c', 'bool'), tensorValue('c2', 'bool')],
  outputs: [tensorValue('y', 'float')],
  nodes: [relu, choose],
});

describe('names and uses', () => {
  it('finds who makes a value', () => {
    assert.equal(producersOf(graph).get('r'), relu);
    assert.equal(producersOf(graph).get('x'), undefined);
  });

  it('finds reads inside subgraphs, at any depth', () => {
    const uses = usesOf(graph);
    assert.deepEqual(uses.get('x'), [
      { node: relu, inputIndex: 0 },
      { node: choose, inputIndex: -1 },
    ]);
    assert.deepEqual(uses.get('r'), [{ node: choose, inputIndex: -1 }]);
    assert.equal(uses.get('w'), undefined);
    assert.deepEqual([...outerNames(branch)].sort(), ['c2', 'r', 'x']);
  });

  it('sees a branch that only passes an outer value on', () => {
    const pass = new Graph({ name: 'pass', outputs: [tensorValue('r', 'float')] });
    assert.deepEqual([...outerNames(pass)], ['r']);
  });

  it('gives fresh names that nobody uses, subgraphs included', () => {
    const scope = new NameScope(graph);
    assert.equal(scope.fresh('w'), 'w_1');
    assert.equal(scope.fresh('w'), 'w_2');
    assert.equal(scope.fresh('new'), 'new');
    assert.ok(allNames(graph).has('act') && allNames(graph).has('n'));
  });

  it('walks graphs from the outside in', () => {
    assert.deepEqual(
      Array.from(withSubgraphs(graph), ({ name }) => name),
      ['main', 'branch', 'inner'],
    );
  });
});

describe('nodes', () => {
  it('make attributes from plain values', () => {
    assert.deepEqual(attributeOf(2), { kind: 'int', value: 2n });
    assert.deepEqual(attributeOf(0.5), { kind: 'float', value: 0.5 });
    assert.deepEqual(attributeOf({ float: 2 }), { kind: 'float', value: 2 });
    assert.deepEqual(attributeOf([1, 2]), { kind: 'ints', value: [1n, 2n] });
    assert.deepEqual(attributeOf([1, 2.5]), { kind: 'floats', value: [1, 2.5] });
    assert.deepEqual(attributeOf([]), { kind: 'ints', value: [] });
    assert.equal(attributeOf(['a']).kind, 'strings');
  });

  it('read attributes with their kind checked', () => {
    const node = makeNode('X', [], ['o'], { attributes: { axis: -1, alpha: 0.5, mode: 'same', pads: [1, 2] } });
    assert.equal(node.int('axis', 0), -1);
    assert.equal(node.int('absent', 7), 7);
    assert.equal(node.float('alpha', 0), 0.5);
    assert.equal(node.string('mode', ''), 'same');
    assert.deepEqual(node.ints('pads'), [1, 2]);
    assert.throws(() => node.int('alpha', 0), /X \(output "o"\): attribute alpha is float, expected int/);
  });

  it('have a name for messages', () => {
    assert.equal(describeNode(relu), 'Relu "act"');
    assert.equal(describeNode(makeNode('Y', [], ['o'], { domain: 'com.microsoft' })), 'com.microsoft:Y (output "o")');
    assert.equal(makeNode('Y', [], [], { domain: 'ai.onnx' }).domain, '');
  });
});
