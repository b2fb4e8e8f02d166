import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Graph } from '../../../src/onnx/graph.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode, type AttributeInit, type Node } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { checked, feed, graphOf, modelOf, numbers, weight } from './helpers.ts';

/**
 * Folding rounds each weight once (relative error 2^-24) where the node it replaces rounds a result: sums of up to 50
 * terms of float32 stay within 50 * 6e-8 of the largest value; seen below 1e-6.
 */
const TOLERANCE = 5e-6;

/** Scale, bias, mean and (positive) variance of a BatchNormalization. */
function statistics(name: string, channels: number, shift = true): Tensor[] {
  const zero = new Array<number>(channels).fill(0);
  return [
    weight(`${name}_scale`, [channels], 21),
    Tensor.float(`${name}_bias`, shift ? numbers(channels, 22) : zero),
    Tensor.float(`${name}_mean`, shift ? numbers(channels, 23) : zero),
    Tensor.float(
      `${name}_var`,
      numbers(channels, 24).map((value) => value + 1.1),
    ),
  ];
}

function batchNorm(name: string, input: string, output: string): Node {
  const parameters = ['scale', 'bias', 'mean', 'var'].map((what) => `${name}_${what}`);
  return makeNode('BatchNormalization', [input, ...parameters], [output], { attributes: { epsilon: 0.001 }, name });
}

const opsOf = (model: Model): string[] => model.graph.nodes.map((node) => node.opType);

interface Layer {
  readonly name: string;
  readonly op: string;
  readonly input: readonly number[];
  readonly weights: readonly Tensor[];
  readonly channels: number;
  readonly attributes?: Record<string, AttributeInit>;
  /** Operators that remain when all goes well; the layer alone by default. */
  readonly left?: readonly string[];
}

const AFTER: readonly Layer[] = [
  {
    name: 'Conv without bias',
    op: 'Conv',
    input: [2, 3, 5, 5],
    weights: [weight('w', [4, 3, 3, 3])],
    channels: 4,
    attributes: { pads: [1, 1, 1, 1] },
  },
  {
    name: 'Conv with bias',
    op: 'Conv',
    input: [2, 3, 5, 5],
    weights: [weight('w', [4, 3, 3, 3]), weight('b', [4], 3)],
    channels: 4,
  },
  {
    name: 'grouped Conv',
    op: 'Conv',
    input: [1, 4, 5],
    weights: [weight('w', [6, 2, 3]), weight('b', [6], 3)],
    channels: 6,
    attributes: { group: 2 },
  },
  {
    name: 'ConvTranspose',
    op: 'ConvTranspose',
    input: [1, 3, 4, 4],
    weights: [weight('w', [3, 5, 2, 2]), weight('b', [5], 3)],
    channels: 5,
    attributes: { strides: [2, 2] },
  },
  {
    name: 'grouped ConvTranspose',
    op: 'ConvTranspose',
    input: [1, 4, 4],
    weights: [weight('w', [4, 3, 2])],
    channels: 6,
    attributes: { group: 2, pads: [1, 0] },
  },
  { name: 'Gemm', op: 'Gemm', input: [3, 4], weights: [weight('w', [4, 5]), weight('b', [5], 3)], channels: 5 },
  {
    name: 'transposed Gemm with alpha and beta',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [5, 4]), weight('b', [1, 5], 3)],
    channels: 5,
    attributes: { transB: 1, alpha: 0.5, beta: 2.5 },
  },
  {
    name: 'Gemm with a scalar bias',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [4, 5]), weight('b', [], 3)],
    channels: 5,
    attributes: { beta: 0.25 },
  },
  {
    name: 'Gemm with a bias column',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [4, 5]), weight('b', [3, 1], 3)],
    channels: 5,
  },
  {
    name: 'Gemm without bias',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [4, 5])],
    channels: 5,
    attributes: { transA: 0, alpha: { float: 2 } },
  },
  { name: 'MatMul', op: 'MatMul', input: [3, 4], weights: [weight('w', [4, 5])], channels: 5, left: ['MatMul', 'Add'] },
];

const BEFORE: readonly Layer[] = [
  { name: 'Conv without padding', op: 'Conv', input: [2, 3, 5, 5], weights: [weight('w', [4, 3, 3, 3])], channels: 3 },
  {
    name: 'grouped Conv with bias',
    op: 'Conv',
    input: [1, 4, 5],
    weights: [weight('w', [6, 2, 3]), weight('b', [6], 3)],
    channels: 4,
    attributes: { group: 2, auto_pad: 'VALID' },
  },
  {
    name: 'Gemm',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [4, 5]), weight('b', [5], 3)],
    channels: 4,
    attributes: { alpha: 0.5, beta: 2.5 },
  },
  {
    name: 'transposed Gemm with a bias column',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [5, 4]), weight('b', [3, 1], 3)],
    channels: 4,
    attributes: { transB: 1 },
  },
  {
    name: 'Gemm without bias',
    op: 'Gemm',
    input: [3, 4],
    weights: [weight('w', [4, 5])],
    channels: 4,
    attributes: { alpha: 3.5 },
  },
  { name: 'MatMul', op: 'MatMul', input: [3, 4], weights: [weight('w', [4, 5])], channels: 4, left: ['MatMul', 'Add'] },
];

function layerNode({ op, weights, attributes }: Layer, input: string, output: string): Node {
  return makeNode(op, [input, ...weights.map((tensor) => tensor.name)], [output], { attributes: attributes ?? {} });
}

describe('canonicalize: BatchNormalization behind an operator', () => {
  for (const layer of AFTER) {
    it(`folds into ${layer.name}`, async () => {
      const original = modelOf({
        nodes: [layerNode(layer, 'x', 'h'), batchNorm('bn', 'h', 'y')],
        inputs: [tensorValue('x', 'float', layer.input)],
        outputs: [tensorValue('y', 'float')],
        initializers: [...layer.weights, ...statistics('bn', layer.channels)],
      });
      const { model, result } = await checked(original, { x: feed(layer.input) }, { tolerance: TOLERANCE });
      assert.deepEqual(opsOf(model), layer.left ?? [layer.op]);
      assert.equal(result.details['batchNormalizationsFolded'], 1);
      assert.deepEqual(result.skipped, []);
    });
  }

  it('folds into MatMul and Add', async () => {
    for (const bias of [weight('b', [5], 3), weight('b', [1, 5], 3), weight('b', [], 3)]) {
      const original = modelOf({
        nodes: [makeNode('MatMul', ['x', 'w'], ['h']), makeNode('Add', ['b', 'h'], ['z']), batchNorm('bn', 'z', 'y')],
        inputs: [tensorValue('x', 'float', ['n', 4])],
        outputs: [tensorValue('y', 'float')],
        initializers: [weight('w', [4, 5]), bias, ...statistics('bn', 5)],
      });
      const { model } = await checked(original, { x: feed([3, 4]) }, { tolerance: TOLERANCE });
      assert.deepEqual(opsOf(model), ['MatMul', 'Add']);
    }
  });

  it('folds a chain of two, and in double', async () => {
    const double = ({ name, dims }: Tensor, values: readonly number[]): Tensor =>
      Tensor.fromArray(name, { type: 'double', dims, data: Float64Array.from(values) });
    const original = modelOf({
      nodes: [makeNode('Gemm', ['x', 'w'], ['h']), batchNorm('bn1', 'h', 'z'), batchNorm('bn2', 'z', 'y')],
      inputs: [tensorValue('x', 'double', [3, 4])],
      outputs: [tensorValue('y', 'double')],
      initializers: [weight('w', [4, 5]), ...statistics('bn1', 5), ...statistics('bn2', 5)].map((tensor) =>
        double(tensor, [...tensor.floats()]),
      ),
    });
    const x = { type: 'double', dims: [3, 4], data: Float64Array.from(numbers(12, 9)) } as const;
    const { model } = await checked(original, { x }, { tolerance: 1e-14 });
    assert.deepEqual(opsOf(model), ['Gemm']);
  });
});

describe('canonicalize: BatchNormalization in front of an operator', () => {
  for (const layer of BEFORE) {
    it(`folds into ${layer.name}`, async () => {
      const original = modelOf({
        nodes: [batchNorm('bn', 'x', 'h'), layerNode(layer, 'h', 'y')],
        inputs: [tensorValue('x', 'float', layer.input)],
        outputs: [tensorValue('y', 'float')],
        initializers: [...layer.weights, ...statistics('bn', layer.channels)],
      });
      const { model } = await checked(original, { x: feed(layer.input) }, { tolerance: TOLERANCE });
      assert.deepEqual(opsOf(model), layer.left ?? [layer.op]);
    });
  }

  for (const [op, shape, weights, attributes] of [
    ['Conv', [2, 3, 5, 5], weight('w', [4, 3, 3, 3]), { pads: [1, 1, 1, 1] }],
    ['ConvTranspose', [1, 3, 4, 4], weight('w', [3, 5, 2, 2]), { strides: [2, 2] }],
  ] as const) {
    it(`folds into a ${op} whose border sees the shift differently only when there is no shift`, async () => {
      for (const shift of [false, true]) {
        const original = modelOf({
          nodes: [batchNorm('bn', 'x', 'h'), makeNode(op, ['h', 'w'], ['y'], { attributes })],
          inputs: [tensorValue('x', 'float', shape)],
          outputs: [tensorValue('y', 'float')],
          initializers: [weights, ...statistics('bn', 3, shift)],
        });
        const { model, result } = await checked(original, { x: feed(shape) }, { tolerance: TOLERANCE });
        assert.deepEqual(opsOf(model), shift ? ['BatchNormalization', op] : [op]);
        assert.equal(result.skipped.length, shift ? 1 : 0);
      }
    });
  }
});

describe('canonicalize: BatchNormalization that stays', () => {
  const conv = makeNode('Conv', ['x', 'w'], ['h']);
  const base = {
    inputs: [tensorValue('x', 'float', [1, 3, 5, 5])],
    initializers: [weight('w', [4, 3, 3, 3]), ...statistics('bn', 4)],
  };
  const y = tensorValue('y', 'float');
  const feeds = { x: feed([1, 3, 5, 5]) };
  const withNodes = (nodes: readonly Node[], outputs = [y], more: readonly Tensor[] = []): Model =>
    modelOf({ ...base, nodes, outputs, initializers: [...base.initializers, ...more] });

  for (const [name, original, reason] of [
    [
      'the Conv result is a graph output',
      withNodes([conv, batchNorm('bn', 'h', 'y')], [y, tensorValue('h', 'float')]),
      /"h" is a graph output too/,
    ],
    [
      'the Conv result has two uses',
      withNodes([conv, batchNorm('bn', 'h', 'n'), makeNode('Add', ['h', 'n'], ['y'])]),
      /"h" is read elsewhere too/,
    ],
    [
      'the operator has no weights',
      withNodes([conv, makeNode('Relu', ['h'], ['r']), batchNorm('bn', 'r', 'y')]),
      /Relu .* has no weights/,
    ],
    [
      'MatMul has more than two axes, so that channels are not its columns',
      modelOf({
        nodes: [makeNode('MatMul', ['x', 'm'], ['h']), batchNorm('bn', 'h', 'y')],
        inputs: [tensorValue('x', 'float', [1, 5, 5])],
        outputs: [y],
        initializers: [weight('m', [5, 5]), ...statistics('bn', 5)],
      }),
      /not known to have two axes/,
    ],
  ] as const) {
    it(`when ${name}`, async () => {
      const { model, result } = await checked(
        original,
        original.graph.inputs[0]?.type?.kind === 'tensor' && name.startsWith('MatMul') ? { x: feed([1, 5, 5]) } : feeds,
      );
      assert.ok(opsOf(model).includes('BatchNormalization'));
      assert.match(result.skipped[0]?.reason ?? '', reason);
      assert.equal(result.skipped[0]?.node, 'BatchNormalization "bn"');
    });
  }

  it('when the option says so', async () => {
    const { model, result } = await checked(withNodes([conv, batchNorm('bn', 'h', 'y')]), feeds, {
      options: { foldBatchNormalization: false },
    });
    assert.deepEqual(opsOf(model), ['Conv', 'BatchNormalization']);
    assert.equal(result.changes, 0);
  });

  it('when its weight can be overridden by the caller, unless that is frozen', async () => {
    const original = withNodes([conv, batchNorm('bn', 'h', 'y')]);
    original.graph.inputs = [...original.graph.inputs, tensorValue('w', 'float', [4, 3, 3, 3])];
    const kept = await checked(original, feeds);
    assert.deepEqual(opsOf(kept.model), ['Conv', 'BatchNormalization']);
    assert.equal(kept.result.warnings.length, 1);
    const frozen = await checked(original, feeds, {
      tolerance: TOLERANCE,
      options: { overridableInitializers: 'freeze' },
    });
    assert.deepEqual(opsOf(frozen.model), ['Conv']);
    assert.deepEqual(
      frozen.model.graph.inputs.map((input) => input.name),
      ['x'],
    );
  });
});

describe('canonicalize: BatchNormalization and shared weights', () => {
  it('gives the folded Conv its own copy and leaves the other reader the old weight', async () => {
    const original = modelOf({
      nodes: [
        makeNode('Conv', ['x', 'w'], ['h1']),
        batchNorm('bn', 'h1', 'n1'),
        makeNode('Conv', ['x', 'w'], ['h2']),
        makeNode('Add', ['n1', 'h2'], ['y']),
      ],
      inputs: [tensorValue('x', 'float', [1, 3, 5, 5])],
      outputs: [tensorValue('y', 'float')],
      initializers: [weight('w', [4, 3, 3, 3]), ...statistics('bn', 4)],
    });
    const { model } = await checked(original, { x: feed([1, 3, 5, 5]) }, { tolerance: TOLERANCE });
    assert.deepEqual(opsOf(model), ['Conv', 'Conv', 'Add']);
    assert.deepEqual([...model.graph.initializers.keys()].sort(), ['w', 'w_bias', 'w_folded']);
  });

  it('folds inside a branch that captures its weight, without touching the outer weight', async () => {
    const branch = (name: string, nodes: readonly Node[]): Graph =>
      graphOf({ name, nodes, inputs: [], outputs: [tensorValue(`${name}_y`, 'float')] });
    const original = modelOf({
      nodes: [
        makeNode('If', ['c'], ['y'], {
          attributes: {
            then_branch: {
              kind: 'graph',
              value: branch('then', [makeNode('Conv', ['x', 'w'], ['then_h']), batchNorm('bn', 'then_h', 'then_y')]),
            },
            else_branch: { kind: 'graph', value: branch('else', [makeNode('Conv', ['x', 'w'], ['else_y'])]) },
          },
        }),
      ],
      inputs: [tensorValue('x', 'float', [1, 3, 5, 5]), tensorValue('c', 'bool', [])],
      outputs: [tensorValue('y', 'float')],
      initializers: [weight('w', [4, 3, 3, 3]), ...statistics('bn', 4)],
    });
    for (const flag of [0, 1]) {
      const feeds = { x: feed([1, 3, 5, 5]), c: { type: 'bool', dims: [], data: Uint8Array.of(flag) } } as const;
      const { model, result } = await checked(original, feeds, { tolerance: TOLERANCE });
      assert.equal(result.details['batchNormalizationsFolded'], 1);
      assert.deepEqual([...model.graph.initializers.keys()], ['w']);
    }
  });
});
