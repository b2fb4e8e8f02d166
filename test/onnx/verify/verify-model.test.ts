import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { CompressionError, type ErrorCode } from '../../../src/errors.ts';
import type { Graph } from '../../../src/onnx/graph.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode, Node, type AttributeInit } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { functionOf, graphOf, modelOf, type GraphParts } from '../inference/models.ts';

const x = tensorValue('x', 'float', ['N', 4]);
const y = tensorValue('y', 'float');

/** A sound model around these nodes: input x [N, 4], output y. */
function around(nodes: Node[], more: Partial<Parameters<typeof modelOf>[0]> = {}): Model {
  return modelOf({ nodes, inputs: [x], outputs: [y], ...more });
}

function assertRefused(model: Model, code: ErrorCode, message: RegExp): void {
  assert.throws(
    () => verifyModel(model),
    (error) => {
      assert.ok(error instanceof CompressionError, String(error));
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    },
  );
}

const relu = (input: string, output: string): Node => makeNode('Relu', [input], [output]);

function ifNode(thenBranch: Graph, elseBranch: Graph, outputs: string[]): Node {
  return makeNode('If', ['c'], outputs, {
    attributes: {
      then_branch: { kind: 'graph', value: thenBranch },
      else_branch: { kind: 'graph', value: elseBranch },
    },
  });
}

const condition = tensorValue('c', 'bool', []);
const inner = (nodes: Node[], output: string, more: Partial<GraphParts> = {}): Graph =>
  graphOf({ nodes, outputs: [{ name: output }], ...more });

describe('verifyModel accepts', () => {
  it('a small model, and does not change it', () => {
    const model = around([relu('x', 'y')]);
    const before = JSON.stringify(model.graph.nodes);
    verifyModel(model);
    assert.equal(JSON.stringify(model.graph.nodes), before);
    assert.equal(model.graph.valueInfos.size, 0);
  });

  it('subgraphs that read outer values and hide outer names', () => {
    const branch = inner([relu('x', 'a'), relu('a', 'o')], 'o');
    verifyModel(around([relu('x', 'a'), ifNode(branch, branch, ['y'])], { inputs: [x, condition] }));
  });

  it('a chain of 100,000 nodes', () => {
    const nodes = Array.from({ length: 100_000 }, (_, index) => relu(index === 0 ? 'x' : `v${index}`, `v${index + 1}`));
    verifyModel(around(nodes, { outputs: [tensorValue('v100000', 'float')] }));
  });

  it('a declared shape that is stale, as ONNX Runtime does', () => {
    verifyModel(around([relu('x', 'y')], { outputs: [tensorValue('y', 'float', [1, 5])] }));
  });

  it('a branch of an If that does not fit the shapes: it may never run', () => {
    const wrong = inner([makeNode('Squeeze', ['x', 'axes'], ['o'])], 'o', {
      initializers: [Tensor.int64('axes', [1])],
    });
    verifyModel(around([ifNode(inner([relu('x', 'o')], 'o'), wrong, ['y'])], { inputs: [x, condition] }));
  });
});

describe('verifyModel refuses', () => {
  it('IR and opset versions that are too new (O24)', () => {
    assertRefused(around([relu('x', 'y')], { irVersion: 99 }), 'MODEL_UNSUPPORTED', /IR version 99, 3 to 13/);
    assertRefused(
      around([relu('x', 'y')], { opsets: { '': 99 } }),
      'MODEL_UNSUPPORTED',
      /opset 99 of ai\.onnx, 1 to 26/,
    );
  });

  it('a cycle, naming a node on it (O23)', () => {
    const nodes = [makeNode('Add', ['x', 'b'], ['a'], { name: 'first' }), relu('a', 'b'), relu('b', 'y')];
    assertRefused(around(nodes), 'MODEL_INVALID', /(Add "first"|Relu \(output "b"\)).*cycle/);
  });

  it('a long cycle without exhausting the stack', () => {
    const nodes = Array.from({ length: 50_000 }, (_, index) => relu(`v${(index + 1) % 50_000}`, `v${index}`));
    assertRefused(around(nodes, { outputs: [tensorValue('v0', 'float')] }), 'MODEL_INVALID', /cycle/);
  });

  it('a value that nothing makes (O23)', () => {
    assertRefused(around([relu('nowhere', 'y')]), 'MODEL_INVALID', /Relu \(output "y"\) reads "nowhere": no node/);
  });

  it('an output name that is defined twice (O23)', () => {
    assertRefused(around([relu('x', 'y'), relu('x', 'y')]), 'MODEL_INVALID', /"y": the name is defined more than once/);
    assertRefused(around([relu('x', 'x')]), 'MODEL_INVALID', /"x": the name is defined more than once/);
  });

  it('nodes out of order, and says what to do', () => {
    assertRefused(around([relu('a', 'y'), relu('x', 'a')]), 'MODEL_INVALID', /topological order first/);
  });

  it('graph outputs that are missing, listed twice, or none at all', () => {
    assertRefused(around([relu('x', 'z')]), 'MODEL_INVALID', /graph output "y" is not made/);
    assertRefused(around([relu('x', 'y')], { outputs: [y, y] }), 'MODEL_INVALID', /listed more than once/);
    assertRefused(around([relu('x', 'y')], { outputs: [] }), 'MODEL_INVALID', /no outputs/);
  });

  it('operators it does not know, listing domain and name (O25 to O27)', () => {
    const nodes = [
      makeNode('Conv3000', ['x'], ['a'], { domain: 'my.ops' }),
      makeNode('EPContext', ['a'], ['b'], { domain: 'com.microsoft' }),
      makeNode('PyOp', ['b'], ['c'], { domain: 'com.microsoft' }),
      makeNode('Softsine', ['c'], ['y']),
    ];
    const opsets = { '': 17, 'my.ops': 1, 'com.microsoft': 1 };
    assertRefused(
      around(nodes, { opsets }),
      'MODEL_UNSUPPORTED_OP',
      /my\.ops:Conv3000; com\.microsoft:EPContext; com\.microsoft:PyOp; ai\.onnx:Softsine/,
    );
  });

  it('operators outside their opset range', () => {
    assertRefused(around([makeNode('Gelu', ['x'], ['y'])]), 'MODEL_UNSUPPORTED_OP', /Gelu \(since opset 20, .* 17\)/);
    const upsample = makeNode('Upsample', ['x', 's'], ['y']);
    const scales = [Tensor.float('s', [1, 2])];
    assertRefused(around([upsample], { initializers: scales }), 'MODEL_UNSUPPORTED_OP', /removed in opset 10/);
    const gelu = makeNode('Gelu', ['x'], ['y'], { domain: 'com.microsoft' });
    assertRefused(around([gelu]), 'MODEL_UNSUPPORTED_OP', /com\.microsoft:Gelu \(its domain is not among/);
  });

  const wrongNodes: [string, Node, RegExp][] = [
    ['too many inputs', makeNode('Relu', ['x', 'x'], ['y']), /has 2 inputs, expected 1/],
    ['too few outputs', makeNode('DynamicQuantizeLinear', ['x'], ['y']), /has 1 outputs, expected 3/],
    ['an empty required input', makeNode('Add', ['x', ''], ['y']), /required input 1 is empty/],
    ['a missing attribute', makeNode('Concat', ['x', 'x'], ['y']), /attribute axis is missing/],
    [
      'an unknown attribute',
      makeNode('Relu', ['x'], ['y'], { attributes: { slope: 1 } }),
      /"slope", which Relu of opset 14/,
    ],
    [
      'an attribute of another kind',
      makeNode('Concat', ['x'], ['y'], { attributes: { axis: [1] } }),
      /"axis" is ints, expected int/,
    ],
    [
      'an attribute reference outside a function',
      makeNode('Concat', ['x'], ['y'], { attributes: { axis: { kind: 'reference', refAttrName: 'a', type: 2 } } }),
      /outside a function/,
    ],
  ];
  for (const [what, node, message] of wrongNodes) {
    it(`a node with ${what}`, () => assertRefused(around([node]), 'MODEL_INVALID', message));
  }

  it('a tensor whose bytes do not fit its dims (O19 to O21)', () => {
    const add = [makeNode('Add', ['x', 'w'], ['y'])];
    const storage = { kind: 'bytes', bytes: new Uint8Array(12) } as const;
    const broken = (dims: number[]): Tensor => new Tensor({ name: 'w', dataType: 'float', dims, storage });
    assertRefused(
      around(add, { initializers: [broken([4])] }),
      'MODEL_INVALID',
      /"w": float \[4\] needs 16 bytes, it has 12/,
    );
    assertRefused(around(add, { initializers: [broken([-3])] }), 'MODEL_INVALID', /dims \[-3\]/);
    assertRefused(
      around(add, { initializers: [broken([2 ** 40, 2 ** 40])] }),
      'MODEL_INVALID',
      /are not those of a tensor/,
    );
    const constant = makeNode('Constant', [], ['k'], { attributes: { value: { kind: 'tensor', value: broken([5]) } } });
    assertRefused(around([constant, makeNode('Add', ['x', 'k'], ['y'])]), 'MODEL_INVALID', /needs 20 bytes/);
  });

  it('types that do not fit', () => {
    const ints = tensorValue('i', 'int64', [4]);
    assertRefused(around([makeNode('Add', ['x', 'i'], ['y'])], { inputs: [x, ints] }), 'MODEL_INVALID', /is int64/);
    const declared = tensorValue('y', 'int64');
    assertRefused(around([relu('x', 'y')], { outputs: [declared] }), 'MODEL_INVALID', /declared as a tensor of int64/);
    const weight = [Tensor.float('w', [1, 2, 3])];
    assertRefused(around([makeNode('Add', ['x', 'w'], ['y'])], { initializers: weight }), 'MODEL_INVALID', /broadcast/);
  });

  it('names that would break a log or a page, escaped and shortened (O35)', () => {
    const hostile = `\n\u001b[31m\u202e${'a'.repeat(1_000_000)}`;
    assert.throws(
      () => verifyModel(around([relu(hostile, 'y')])),
      (error) =>
        error instanceof CompressionError && error.message.length < 400 && !/[\p{Cc}\p{Cf}]/u.test(error.message),
    );
  });
});

describe('verifyModel on functions', () => {
  const call = (name: string, input = 'x', output = 'y'): Node => makeNode(name, [input], [output], { domain: 'test' });

  it('accepts a model-local operator and checks its body', () => {
    verifyModel(around([call('F')], { functions: [functionOf('F', [relu('x', 'y')])] }));
    const wrong = functionOf('F', [makeNode('PyOp', ['x'], ['y'], { domain: 'com.microsoft' })]);
    assertRefused(around([call('F')], { functions: [wrong] }), 'MODEL_UNSUPPORTED_OP', /com\.microsoft:PyOp/);
    const dangling = functionOf('F', [relu('outer', 'y')]);
    assertRefused(around([call('F')], { functions: [dangling] }), 'MODEL_INVALID', /"outer"/);
  });

  it('refuses recursion, direct and through others (O30)', () => {
    assertRefused(
      around([call('F')], { functions: [functionOf('F', [call('F')])] }),
      'MODEL_INVALID',
      /"F" calls itself/,
    );
    const pair = [functionOf('F', [call('G')]), functionOf('G', [call('F')])];
    assertRefused(around([call('F')], { functions: pair }), 'MODEL_INVALID', /calls itself/);
  });

  it('counts what calls expand to without expanding them (O29)', () => {
    // Ten levels of ten calls: 10^10 nodes from a model of 2 KB.
    const functions = Array.from({ length: 10 }, (_, level) =>
      functionOf(
        `F${level}`,
        Array.from({ length: 10 }, (_unused, index) => {
          const [from, to] = [index === 0 ? 'x' : `v${index}`, index === 9 ? 'y' : `v${index + 1}`];
          return level === 9 ? relu(from, to) : call(`F${level + 1}`, from, to);
        }),
      ),
    );
    assertRefused(around([call('F0')], { functions }), 'MODEL_LIMIT', /expand to \d+ nodes, the limit is 1000000/);
  });

  it('limits nesting of subgraphs and of calls together (O32)', () => {
    const nested = (depth: number): Graph =>
      depth === 0 ? inner([relu('x', 'o')], 'o') : inner([ifNode(nested(depth - 1), nested(0), ['o'])], 'o');
    const withDepth = (depth: number): Model =>
      around([ifNode(nested(depth - 1), nested(0), ['y'])], { inputs: [x, condition] });
    verifyModel(withDepth(32));
    assertRefused(withDepth(33), 'MODEL_LIMIT', /nested 33 deep, the limit is 32/);
    const chain = Array.from({ length: 40 }, (_, level) =>
      functionOf(`F${level}`, [level === 39 ? relu('x', 'y') : call(`F${level + 1}`)]),
    );
    assertRefused(around([call('F0')], { functions: chain }), 'MODEL_LIMIT', /nested 40 deep/);
  });

  it('limits the number of nodes (O33)', () => {
    const model = around([relu('x', 'a'), relu('a', 'y')]);
    assert.throws(() => verifyModel(model, { limits: { nodes: 1 } }), /has 2 nodes, the limit is 1/);
  });

  it('refuses a call with more inputs than the function has', () => {
    const node = makeNode('F', ['x', 'x'], ['y'], { domain: 'test' });
    assertRefused(
      around([node], { functions: [functionOf('F', [relu('x', 'y')])] }),
      'MODEL_INVALID',
      /passes 2 inputs/,
    );
  });

  it('lets a function refer to the attributes of its caller', () => {
    const axis: AttributeInit = { kind: 'reference', refAttrName: 'axis', type: 2 };
    const body = [makeNode('Concat', ['x', 'x'], ['y'], { attributes: { axis } })];
    const node = makeNode('F', ['x'], ['y'], { domain: 'test', attributes: { axis: 0 } });
    verifyModel(around([node], { functions: [functionOf('F', body, { attributeNames: ['axis'] })] }));
  });
});
