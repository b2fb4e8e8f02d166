import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import { opsetOf, type Model } from '../../../src/onnx/model.ts';
import { makeNode, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { CompressionError } from '../../../src/errors.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import { canonicalized, checked, context, feed, graphOf, modelOf, weight } from './helpers.ts';

const opsOf = (model: Model): string[] => model.graph.nodes.map((node) => node.opType);
const x = tensorValue('x', 'float', [2, 3]);
const y = tensorValue('y', 'float');
const feeds = { x: feed([2, 3]) };

/** A context that counts sessions and the nodes in each. */
function counting(): { context: PassContext; sessions: number[] } {
  const sessions: number[] = [];
  const runtime: PassContext['runtime'] = {
    version: context.runtime.version,
    createSession: (model, options) => {
      sessions.push('graph' in model ? model.graph.nodes.length : 0);
      return context.runtime.createSession(model, options);
    },
  };
  return { context: { ...context, runtime }, sessions };
}

describe('canonicalize: constant folding', () => {
  it('replaces what reads constants only, to the bit', async () => {
    const original = modelOf({
      nodes: [
        makeNode('Transpose', ['w'], ['wt'], { attributes: { perm: [1, 0] } }),
        makeNode('Exp', ['wt'], ['e']),
        makeNode('Softmax', ['e'], ['s']),
        makeNode('MatMul', ['x', 's'], ['y']),
      ],
      inputs: [x],
      outputs: [y],
      initializers: [weight('w', [4, 3])],
    });
    const { model, result } = await checked(original, feeds);
    assert.deepEqual(opsOf(model), ['MatMul']);
    assert.equal(result.details['constantsFolded'], 3);
    assert.deepEqual([...model.graph.initializers.keys()], ['s']);
  });

  it('needs one session for a thousand nodes', async () => {
    const nodes = Array.from({ length: 1000 }, (_, i) => makeNode('Sin', [`v${i}`], [`v${i + 1}`]));
    const model = modelOf({
      nodes: [...nodes, makeNode('Add', ['x', 'v1000'], ['y'])],
      inputs: [x],
      outputs: [y],
      initializers: [weight('v0', [3])],
    });
    const { context: counted, sessions } = counting();
    await canonicalize.run(model, canonicalize.options.parse({}), counted);
    assert.deepEqual(sessions, [1000]);
    assert.deepEqual(opsOf(model), ['Add']);
  });

  it('computes shapes of values whose size is fixed, and leaves the ones that are not', async () => {
    const nodes = (source: string): Node[] => [
      makeNode('Shape', [source], ['shape']),
      makeNode('Gather', ['shape', 'one'], ['width']),
      makeNode('Concat', ['width', 'minus'], ['target'], { attributes: { axis: 0 } }),
      makeNode('Reshape', ['t', 'target'], ['y']),
    ];
    const initializers = [Tensor.int64('one', [1]), Tensor.int64('minus', [-1])];
    const t = makeNode('Tile', ['x', 'two'], ['t']);
    const two = Tensor.int64('two', [2, 1]);
    for (const [shape, left] of [
      [
        ['n', 3],
        ['Tile', 'Reshape'],
      ],
      [
        ['n', 'm'],
        ['Tile', 'Shape', 'Gather', 'Concat', 'Reshape'],
      ],
    ] as const) {
      const original = modelOf({
        nodes: [t, ...nodes('x')],
        inputs: [tensorValue('x', 'float', shape)],
        outputs: [y],
        initializers: [...initializers, two],
      });
      assert.deepEqual(opsOf((await checked(original, feeds)).model), left);
    }
  });

  it('never evaluates a bomb', async () => {
    for (const [node, initializers] of [
      [makeNode('ConstantOfShape', ['s'], ['c']), [Tensor.int64('s', [1_000_000, 1_000_000])]],
      [makeNode('Expand', ['o', 's'], ['c']), [Tensor.float('o', [1]), Tensor.int64('s', [1_000_000, 1_000_000])]],
      [makeNode('Tile', ['o', 's'], ['c']), [Tensor.float('o', [1]), Tensor.int64('s', [1_000_000_000])]],
      [
        makeNode('Range', ['a', 'b', 'd'], ['c']),
        [Tensor.int64('a', [0], []), Tensor.int64('b', [10_000_000_000], []), Tensor.int64('d', [1], [])],
      ],
      [makeNode('Pad', ['o', 's'], ['c']), [Tensor.float('o', [1]), Tensor.int64('s', [0, 2_000_000_000])]],
      [
        makeNode('OneHot', ['i', 'd', 'v'], ['c']),
        [Tensor.int64('i', [1, 2]), Tensor.int64('d', [2_000_000_000], []), Tensor.float('v', [0, 1])],
      ],
    ] as const) {
      const model = modelOf({
        nodes: [
          node,
          makeNode('Shape', ['c'], ['n']),
          makeNode('Cast', ['n'], ['f'], { attributes: { to: 1 } }),
          makeNode('ReduceMax', ['c'], ['m']),
          makeNode('Cast', ['m'], ['g'], { attributes: { to: 1 } }),
          makeNode('Sum', ['f', 'g', 'k'], ['y']),
        ],
        inputs: [tensorValue('k', 'float', [1])],
        outputs: [y],
        initializers,
      });
      const { context: counted, sessions } = counting();
      const result = await canonicalize.run(model, canonicalize.options.parse({}), counted);
      assert.ok(opsOf(model).includes(node.opType), node.opType);
      assert.ok(sessions.every((count) => count === 1)); // only the Cast of the known shape
      assert.match(result.skipped[0]?.reason ?? '', /limit|not known/);
    }
  });

  it('does not start a product that takes long', async () => {
    const model = modelOf({
      nodes: [
        makeNode('ConstantOfShape', ['s'], ['a']),
        makeNode('MatMul', ['a', 'a'], ['p']),
        makeNode('ReduceMax', ['p'], ['m']),
        makeNode('Add', ['x', 'm'], ['y']),
      ],
      inputs: [x],
      outputs: [y],
      initializers: [Tensor.int64('s', [1000, 1000])],
    });
    const result = await canonicalized(model, { constantFoldBytes: 2 ** 24 });
    assert.ok(opsOf(model).includes('MatMul'));
    assert.match(result.skipped[0]?.reason ?? '', /steps/);
  });

  it('keeps within the total: large ones stay when there are too many, small ones go', async () => {
    const parts = Array.from({ length: 40 }, (_, i) => makeNode('Expand', ['o', 'big'], [`c${i}`]));
    const original = modelOf({
      nodes: [
        ...parts,
        makeNode('Expand', ['o', 'small'], ['d']),
        makeNode('Sum', [...parts.map((_, i) => `c${i}`), 'd'], ['s']),
        makeNode('Add', ['s', 'k'], ['y']),
      ],
      inputs: [tensorValue('k', 'float', [1])],
      outputs: [y],
      // 40 x 400 KB is more than 16 x 512 KiB.
      initializers: [Tensor.float('o', [2]), Tensor.int64('big', [100_000]), Tensor.int64('small', [1])],
    });
    const { model } = await checked(original, { k: feed([1]) }, { options: { constantFoldBytes: 512 * 1024 } });
    assert.equal(opsOf(model).filter((op) => op === 'Expand').length, 40);
  });

  it('leaves compressed weights compressed', async () => {
    const original = modelOf({
      nodes: [
        makeNode('DequantizeLinear', ['q', 'scale', 'zero'], ['w']),
        makeNode('MatMul', ['x', 'w'], ['h']),
        makeNode('Cast', ['half'], ['b'], { attributes: { to: 1 } }),
        makeNode('Add', ['h', 'b'], ['y']),
      ],
      inputs: [x],
      outputs: [y],
      initializers: [
        Tensor.fromArray('q', { type: 'int8', dims: [3, 1024], data: new Int8Array(3072).fill(7) }),
        Tensor.float('scale', [0.5], []),
        Tensor.fromArray('zero', { type: 'int8', dims: [], data: Int8Array.of(1) }),
        Tensor.fromArray('half', { type: 'float16', dims: [1024], data: new Uint16Array(1024).fill(0x3c00) }),
      ],
    });
    const { model, result } = await checked(original, feeds);
    assert.deepEqual(opsOf(model), ['DequantizeLinear', 'MatMul', 'Cast', 'Add']);
    assert.equal(result.changes, 0);
    assert.match(result.skipped[0]?.reason ?? '', /fewer bits/);
  });

  it('never folds random operators or what a caller can override, or a graph output', async () => {
    const original = modelOf({
      nodes: [
        makeNode('RandomNormal', [], ['r'], { attributes: { shape: [2, 3] } }),
        makeNode('Neg', ['w'], ['n']),
        makeNode('Neg', ['k'], ['out']),
        makeNode('Sum', ['x', 'r', 'n'], ['y']),
      ],
      inputs: [x, tensorValue('w', 'float', [3])],
      outputs: [y, tensorValue('out', 'float')],
      initializers: [weight('w', [3]), weight('k', [3])],
    });
    assert.equal((await canonicalized(original)).changes, 0);
  });

  it('folds in branches what they capture, and stores a result that both need once, in the outer graph', async () => {
    const branch = (name: string, op: string): Graph =>
      graphOf({
        name,
        nodes: [
          makeNode('Transpose', ['w'], [`${name}_t`], { attributes: { perm: [1, 0] } }),
          makeNode('MatMul', ['x', `${name}_t`], [`${name}_p`]),
          makeNode(op, [`${name}_p`], [`${name}_y`]),
        ],
        inputs: [],
        outputs: [tensorValue(`${name}_y`, 'float')],
      });
    const original = modelOf({
      nodes: [
        makeNode('If', ['c'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('then', 'Relu') },
            else_branch: { kind: 'graph', value: branch('else', 'Tanh') },
          },
        }),
      ],
      inputs: [x, tensorValue('c', 'bool', [])],
      outputs: [y],
      initializers: [weight('w', [128, 3])],
    });
    for (const flag of [0, 1]) {
      const { model } = await checked(original, { ...feeds, c: { type: 'bool', dims: [], data: Uint8Array.of(flag) } });
      const inner = model.graph.nodes[0]?.subgraphs() ?? [];
      assert.deepEqual(
        inner.map((graph) => graph.nodes.length),
        [2, 2],
      );
      assert.deepEqual(
        inner.map((graph) => graph.initializers.size),
        [0, 0],
      );
      assert.equal(model.graph.initializers.size, 1);
      assert.deepEqual([...model.graph.initializers.values()][0]?.dims, [3, 128]);
    }
  });

  it('never divides integers by zero', async () => {
    const model = modelOf({
      nodes: [
        makeNode('Div', ['a', 'z'], ['d']),
        makeNode('Cast', ['d'], ['f'], { attributes: { to: 1 } }),
        makeNode('Add', ['x', 'f'], ['y']),
      ],
      inputs: [x],
      outputs: [y],
      initializers: [Tensor.int64('a', [1, 2, 3]), Tensor.int64('z', [1, 0, 1])],
    });
    assert.equal((await canonicalized(model)).changes, 0);
  });

  it('goes on without a node that the runtime refuses', async () => {
    const model = modelOf({
      nodes: [
        makeNode('GatherElements', ['w', 'far'], ['g']), // index 7 of 3
        makeNode('Exp', ['w'], ['e']),
        makeNode('Sum', ['x', 'g', 'e'], ['y']),
      ],
      inputs: [x],
      outputs: [y],
      initializers: [weight('w', [3]), Tensor.int64('far', [7])],
    });
    const result = await canonicalized(model);
    assert.deepEqual(opsOf(model), ['GatherElements', 'Sum']);
    assert.match(result.skipped[0]?.reason ?? '', /cannot be computed/);
  });

  it('stops when it is canceled', async () => {
    const model = modelOf({ nodes: [makeNode('Relu', ['x'], ['y'])], inputs: [x], outputs: [y] });
    const signal = AbortSignal.abort(new CompressionError('CANCELED', 'canceled'));
    await assert.rejects(canonicalize.run(model, canonicalize.options.parse({}), { ...context, signal }), {
      code: 'CANCELED',
    });
  });
});

describe('canonicalize: old models', () => {
  it('takes an IR 3 model with listed initializers to the default opset, folds, and keeps the true inputs', async () => {
    const original = modelOf(
      {
        nodes: [
          makeNode('Conv', ['x', 'w'], ['h'], { attributes: { pads: [1, 1, 1, 1] } }),
          makeNode('BatchNormalization', ['h', 's', 's', 's', 's'], ['n']),
          makeNode('Reshape', ['n', 'shape'], ['f']),
          makeNode('Softmax', ['f'], ['p'], { attributes: { axis: 1 } }),
          makeNode('Dropout', ['p'], ['y']),
        ],
        inputs: [
          tensorValue('w', 'float', [4, 3, 3, 3]),
          tensorValue('x', 'float', [1, 3, 5, 5]),
          tensorValue('s', 'float', [4]),
          tensorValue('shape', 'int64', [2]),
        ],
        outputs: [tensorValue('y', 'float', [1, 100])],
        initializers: [weight('w', [4, 3, 3, 3]), Tensor.float('s', [1, 2, 3, 4]), Tensor.int64('shape', [1, -1])],
      },
      8,
      3,
    );
    const { model, result } = await checked(original, { x: feed([1, 3, 5, 5]) }, { tolerance: 5e-6 });
    assert.deepEqual(opsOf(model), ['Conv', 'Reshape', 'Softmax']);
    assert.deepEqual(
      model.graph.inputs.map((input) => input.name),
      ['x'],
    );
    assert.equal(model.irVersion, 10);
    assert.deepEqual(result.details['opset'], { from: 8, to: 21, nodesRewritten: 1 });
  });

  it('stops at opset 18 for AveragePool, unless told otherwise', async () => {
    const original = modelOf(
      {
        nodes: [makeNode('AveragePool', ['x'], ['y'], { attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } })],
        inputs: [tensorValue('x', 'float', [1, 3, 5, 5])],
        outputs: [y],
      },
      11,
    );
    const pooled = { x: feed([1, 3, 5, 5]) };
    assert.equal(opsetOf((await checked(original, pooled)).model), 18);
    // One rounding of float32 per addend, nine of them.
    const forced = await checked(original, pooled, { tolerance: 1e-6, options: { opset: 21 } });
    assert.equal(opsetOf(forced.model), 21);
  });

  it('says which node keeps the model at its opset', async () => {
    const original = modelOf(
      {
        nodes: [makeNode('Resize', ['x', 'scales'], ['y'])],
        inputs: [x, tensorValue('scales', 'float', [2])],
        outputs: [y],
      },
      10,
    );
    const result = await canonicalized(original);
    assert.equal(result.changes, 0);
    assert.match(result.skipped[0]?.reason ?? '', /^opset 11: its scales are not constant/);
  });
});
