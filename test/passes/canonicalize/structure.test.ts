import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { canonicalized, graphOf, modelOf } from './helpers.ts';

const x = tensorValue('x', 'float', [2, 3]);
const y = tensorValue('y', 'float', [2, 3]);
const ops = (graph: Graph): string[] => graph.nodes.map((node: Node) => node.opType);

describe('canonicalize: dead code and order', () => {
  it('removes nodes and initializers nobody reads', async () => {
    const model = modelOf({
      nodes: [makeNode('Relu', ['x'], ['y']), makeNode('Add', ['x', 'unused'], ['gone'])],
      inputs: [x],
      outputs: [y],
      initializers: [Tensor.float('unused', [1])],
    });
    const { changes } = await canonicalized(model);
    assert.equal(changes, 2);
    assert.deepEqual(ops(model.graph), ['Relu']);
    assert.equal(model.graph.initializers.size, 0);
  });

  it('keeps what only a subgraph reads', async () => {
    const branch = (name: string, op: string): Graph =>
      graphOf({
        name,
        nodes: [makeNode(op, ['kept', 'w'], [`${name}_y`])],
        inputs: [],
        outputs: [tensorValue(`${name}_y`, 'float')],
      });
    const model = modelOf({
      nodes: [
        makeNode('Relu', ['x'], ['kept']),
        makeNode('If', ['c'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('then', 'Add') },
            else_branch: { kind: 'graph', value: branch('else', 'Sub') },
          },
        }),
      ],
      inputs: [x, tensorValue('c', 'bool', [])],
      outputs: [y],
      initializers: [Tensor.float('w', [3])],
    });
    assert.equal((await canonicalized(model)).changes, 0);
    assert.deepEqual(ops(model.graph), ['Relu', 'If']);
  });

  it('sorts nodes, and refuses a cycle', async () => {
    const model = modelOf({
      nodes: [makeNode('Relu', ['h'], ['y']), makeNode('Tanh', ['x'], ['h'])],
      inputs: [x],
      outputs: [y],
    });
    assert.equal((await canonicalized(model)).changes, 1);
    assert.deepEqual(ops(model.graph), ['Tanh', 'Relu']);
    const cycle = modelOf({
      nodes: [makeNode('Add', ['x', 'b'], ['a']), makeNode('Relu', ['a'], ['b']), makeNode('Relu', ['b'], ['y'])],
      inputs: [x],
      outputs: [y],
    });
    await assert.rejects(canonicalized(cycle), { code: 'MODEL_INVALID' });
  });
});

describe('canonicalize: constants', () => {
  it('turns Constant nodes into initializers, inside branches too, but not one that is a graph output', async () => {
    const branch = (name: string): Graph =>
      graphOf({
        name,
        nodes: [
          makeNode('Constant', [], [`${name}_c`], { attributes: { value_floats: { floats: [1, 2, 3] } } }),
          makeNode('Add', ['x', `${name}_c`], [`${name}_y`]),
        ],
        inputs: [],
        outputs: [tensorValue(`${name}_y`, 'float')],
      });
    const then = branch('then');
    const model = modelOf({
      nodes: [
        makeNode('Constant', [], ['k'], { attributes: { value: { kind: 'tensor', value: Tensor.float('', [7]) } } }),
        makeNode('Constant', [], ['out'], { attributes: { value_float: 0.5 } }),
        makeNode('If', ['c'], ['h'], {
          attributes: {
            then_branch: { kind: 'graph', value: then },
            else_branch: { kind: 'graph', value: branch('else') },
          },
        }),
        makeNode('Mul', ['h', 'k'], ['y']),
      ],
      inputs: [x, tensorValue('c', 'bool', [])],
      outputs: [y, tensorValue('out', 'float', [])],
    });
    assert.equal((await canonicalized(model)).details['constantsLifted'], 3);
    assert.deepEqual(ops(model.graph), ['Constant', 'If', 'Mul']);
    assert.deepEqual([...then.initializers.keys()], ['then_c']);
    assert.deepEqual([...(then.initializers.get('then_c')?.floats() ?? [])], [1, 2, 3]);
  });

  it('makes equal large initializers one, and leaves small ones and different ones', async () => {
    const big = (name: string, last = 0): Tensor =>
      Tensor.float(name, [...new Array<number>(299).fill(1), last], [300]);
    const model = modelOf({
      nodes: [
        makeNode('Add', ['x', 'a'], ['h1']),
        makeNode('Add', ['h1', 'b'], ['h2']),
        makeNode('Add', ['h2', 'c'], ['h3']),
        makeNode('Add', ['h3', 's1'], ['h4']),
        makeNode('Add', ['h4', 's2'], ['y']),
      ],
      inputs: [tensorValue('x', 'float', [300])],
      outputs: [tensorValue('y', 'float', [300])],
      initializers: [big('a'), big('b'), big('c', 9), Tensor.float('s1', [5]), Tensor.float('s2', [5])],
    });
    assert.equal((await canonicalized(model)).changes, 1);
    assert.deepEqual([...model.graph.initializers.keys()], ['a', 'c', 's1', 's2']);
    assert.deepEqual(model.graph.nodes[1]?.inputs, ['h1', 'a']);
  });
});

describe('canonicalize: identities', () => {
  it('removes one whose output is a graph output and keeps the output name', async () => {
    const model = modelOf({
      nodes: [makeNode('Relu', ['x'], ['h']), makeNode('Identity', ['h'], ['y']), makeNode('Tanh', ['h'], ['z'])],
      inputs: [x],
      outputs: [y, tensorValue('z', 'float', [2, 3])],
    });
    assert.equal((await canonicalized(model)).changes, 1);
    assert.deepEqual(
      model.graph.nodes.map((node) => [...node.inputs, ...node.outputs]),
      [
        ['x', 'y'],
        ['y', 'z'],
      ],
    );
  });

  it('keeps an Identity between a graph input and a graph output, and says so', async () => {
    const model = modelOf({ nodes: [makeNode('Identity', ['x'], ['y'])], inputs: [x], outputs: [y] });
    const result = await canonicalized(model);
    assert.equal(result.changes, 0);
    assert.equal(result.skipped.length, 1);
  });

  it('keeps a Dropout whose mask is used', async () => {
    const model = modelOf({
      nodes: [makeNode('Dropout', ['x'], ['h', 'mask']), makeNode('Relu', ['h'], ['y'])],
      inputs: [x],
      outputs: [y, tensorValue('mask', 'bool', [2, 3])],
    });
    assert.equal((await canonicalized(model)).changes, 0);
  });

  it('keeps a Dropout for the step that trains, where normalization is not folded either', async () => {
    const model = (): ReturnType<typeof modelOf> =>
      modelOf({
        nodes: [makeNode('Dropout', ['x'], ['h']), makeNode('Relu', ['h'], ['y'])],
        inputs: [x],
        outputs: [y],
      });
    assert.equal((await canonicalized(model(), { foldBatchNormalization: false })).changes, 0);
    assert.equal((await canonicalized(model(), { foldBatchNormalization: true })).changes, 1);
  });

  it('redirects reads from inside subgraphs', async () => {
    const branch = (name: string): Graph =>
      graphOf({
        name,
        nodes: [makeNode('Relu', ['h'], [`${name}_y`])],
        inputs: [],
        outputs: [tensorValue(`${name}_y`, 'float')],
      });
    const then = branch('then');
    const model = modelOf({
      nodes: [
        makeNode('Identity', ['x'], ['h']),
        makeNode('If', ['c'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: then },
            else_branch: { kind: 'graph', value: branch('else') },
          },
        }),
      ],
      inputs: [x, tensorValue('c', 'bool', [])],
      outputs: [y],
    });
    await canonicalized(model);
    assert.deepEqual(then.nodes[0]?.inputs, ['x']);
  });

  for (const [name, node, initializers, removed] of [
    ['Reshape to the same shape', makeNode('Reshape', ['x', 's'], ['h']), [Tensor.int64('s', [0, -1])], true],
    ['Reshape to another shape', makeNode('Reshape', ['x', 's'], ['h']), [Tensor.int64('s', [3, 2])], false],
    ['Cast to the same type', makeNode('Cast', ['x'], ['h'], { attributes: { to: 1 } }), [], true],
    ['Cast to another type', makeNode('Cast', ['x'], ['h'], { attributes: { to: 11 } }), [], false],
    ['Transpose by identity', makeNode('Transpose', ['x'], ['h'], { attributes: { perm: [0, 1] } }), [], true],
    ['Transpose by default', makeNode('Transpose', ['x'], ['h']), [], false],
    ['Concat of one', makeNode('Concat', ['x'], ['h'], { attributes: { axis: 0 } }), [], true],
    ['Mul by scalar one', makeNode('Mul', ['x', 's'], ['h']), [Tensor.float('s', [1], [])], true],
    [
      'Mul by [[[1]]], which adds an axis',
      makeNode('Mul', ['x', 's'], ['h']),
      [Tensor.float('s', [1], [1, 1, 1])],
      false,
    ],
    ['Add of zero, which turns -0 into 0', makeNode('Add', ['x', 's'], ['h']), [Tensor.float('s', [0], [])], false],
    [
      'Slice of everything',
      makeNode('Slice', ['x', 's', 'e', 'a'], ['h']),
      [Tensor.int64('s', [0]), Tensor.int64('e', [3]), Tensor.int64('a', [-1])],
      true,
    ],
    [
      'Slice that starts later',
      makeNode('Slice', ['x', 's', 'e', 'a'], ['h']),
      [Tensor.int64('s', [1]), Tensor.int64('e', [3]), Tensor.int64('a', [1])],
      false,
    ],
    [
      'Slice by two',
      makeNode('Slice', ['x', 's', 'e', 'a', 't'], ['h']),
      [Tensor.int64('s', [0]), Tensor.int64('e', [3]), Tensor.int64('a', [1]), Tensor.int64('t', [2])],
      false,
    ],
    ['Pad by nothing', makeNode('Pad', ['x', 's'], ['h']), [Tensor.int64('s', [0, 0, 0, 0])], true],
    ['Pad', makeNode('Pad', ['x', 's'], ['h']), [Tensor.int64('s', [0, 0, 0, 1])], false],
    ['Tile by one', makeNode('Tile', ['x', 's'], ['h']), [Tensor.int64('s', [1, 1])], true],
    ['Tile', makeNode('Tile', ['x', 's'], ['h']), [Tensor.int64('s', [1, 2])], false],
    ['Expand to the same shape', makeNode('Expand', ['x', 's'], ['h']), [Tensor.int64('s', [1, 3])], true],
    ['Expand to more axes', makeNode('Expand', ['x', 's'], ['h']), [Tensor.int64('s', [1, 2, 3])], false],
    ['Flatten of a matrix', makeNode('Flatten', ['x'], ['h']), [], true],
    ['Flatten at axis 0', makeNode('Flatten', ['x'], ['h'], { attributes: { axis: 0 } }), [], false],
    ['Sub of zero', makeNode('Sub', ['x', 's'], ['h']), [Tensor.float('s', [0], [])], true],
    [
      'Sub of minus zero, which turns -0 into 0',
      makeNode('Sub', ['x', 's'], ['h']),
      [Tensor.float('s', [-0], [])],
      false,
    ],
    [
      'Dropout in training',
      makeNode('Dropout', ['x', '', 't'], ['h']),
      [Tensor.fromArray('t', { type: 'bool', dims: [], data: Uint8Array.of(1) })],
      false,
    ],
    ['Dropout without its optional inputs', makeNode('Dropout', ['x', '', ''], ['h']), [], true],
    [
      'Slice of a part',
      makeNode('Slice', ['x', 's', 'e', 'a'], ['h']),
      [Tensor.int64('s', [0]), Tensor.int64('e', [2]), Tensor.int64('a', [-1])],
      false,
    ],
  ] as const) {
    it(`${removed ? 'removes' : 'keeps'} ${name}`, async () => {
      const model = modelOf({
        nodes: [node, makeNode('Relu', ['h'], ['y'])],
        inputs: [x],
        outputs: [tensorValue('y', 'float')],
        initializers,
      });
      await canonicalized(model);
      assert.equal(model.graph.nodes.length, removed ? 1 : 2);
    });
  }

  it('removes a pair of Transposes that undo each other', async () => {
    const model = modelOf({
      nodes: [
        makeNode('Transpose', ['x'], ['a'], { attributes: { perm: [1, 2, 0] } }),
        makeNode('Transpose', ['a'], ['b'], { attributes: { perm: [2, 0, 1] } }),
        makeNode('Relu', ['b'], ['y']),
      ],
      inputs: [tensorValue('x', 'float', [2, 3, 4])],
      outputs: [tensorValue('y', 'float', [2, 3, 4])],
    });
    await canonicalized(model);
    assert.deepEqual(ops(model.graph), ['Relu']);
  });
});
