import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode, type AttributeInit } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { checked, feed, modelOf, weight } from './helpers.ts';

/** One rounding more or less of sums of up to 28 terms of float32, of values near 1. */
const TOLERANCE = 1e-6;
const IMAGE = [2, 3, 5, 5];

const opsOf = (model: Model): string[] => model.graph.nodes.map((node) => node.opType);

interface Case {
  readonly op: 'Conv' | 'ConvTranspose';
  readonly weights: readonly Tensor[];
  readonly constant: Tensor;
  readonly attributes?: Record<string, AttributeInit>;
  readonly constantFirst?: boolean;
}

function added({ op, weights, constant, attributes = {}, constantFirst = false }: Case, outputs = ['y']): Model {
  const operands = constantFirst ? ['b', 'h'] : ['h', 'b'];
  return modelOf({
    nodes: [
      makeNode(op, ['x', ...weights.map(({ name }) => name)], ['h'], { attributes }),
      makeNode('Add', operands, ['y']),
    ],
    inputs: [tensorValue('x', 'float', IMAGE)],
    outputs: outputs.map((name) => tensorValue(name, 'float')),
    initializers: [...weights, constant],
  });
}

const conv = [weight('w', [4, 3, 3, 3])];
const transposed = { op: 'ConvTranspose', weights: [weight('w', [3, 2, 3, 3])] } as const;
const folding: Readonly<Record<string, Case>> = {
  'one a channel': { op: 'Conv', weights: conv, constant: weight('b', [4, 1, 1], 5) },
  'one a channel, with a batch axis, first': {
    op: 'Conv',
    weights: conv,
    constant: weight('b', [1, 4, 1, 1], 5),
    constantFirst: true,
  },
  'one for all channels': { op: 'Conv', weights: conv, constant: weight('b', [], 5) },
  'one a channel to a bias': {
    op: 'Conv',
    weights: [...conv, weight('c', [4], 3)],
    constant: weight('b', [4, 1, 1], 5),
  },
  'one a channel of a ConvTranspose': { ...transposed, constant: weight('b', [2, 1, 1], 5) },
  'one a channel of groups of a ConvTranspose': {
    ...transposed,
    constant: weight('b', [6, 1, 1], 5),
    attributes: { group: 3 },
  },
};

const staying: Readonly<Record<string, Case>> = {
  'one a column': { op: 'Conv', weights: conv, constant: weight('b', [3], 5) },
  'one a place': { op: 'Conv', weights: conv, constant: weight('b', [1, 3, 3], 5) },
  'one a sample': { op: 'Conv', weights: conv, constant: weight('b', [2, 4, 1, 1], 5) },
  'one a channel, on one more axis': { op: 'Conv', weights: conv, constant: weight('b', [1, 1, 4, 1, 1], 5) },
};

describe('canonicalize: a constant added to a convolution', () => {
  for (const [name, one] of Object.entries(folding)) {
    it(`becomes its bias: ${name}`, async () => {
      const { model, result } = await checked(added(one), { x: feed(IMAGE) }, { tolerance: TOLERANCE });
      assert.deepEqual(opsOf(model), [one.op]);
      assert.equal(result.details['biasesFolded'], 1);
    });
  }

  for (const [name, one] of Object.entries(staying)) {
    it(`stays where it is no bias: ${name}`, async () => {
      const { model } = await checked(added(one), { x: feed(IMAGE) });
      assert.deepEqual(opsOf(model), ['Conv', 'Add']);
    });
  }

  it('stays where the sum without it is read, too', async () => {
    const one = folding['one a channel'];
    assert.ok(one !== undefined);
    const { model } = await checked(added(one, ['h', 'y']), { x: feed(IMAGE) });
    assert.deepEqual(opsOf(model), ['Conv', 'Add']);
  });

  it('takes two in a row, and leaves a weight and a constant that others read as they are', async () => {
    const original = modelOf({
      nodes: [
        makeNode('Conv', ['x', 'w'], ['h']),
        makeNode('Add', ['h', 'b'], ['i']),
        makeNode('Add', ['b', 'i'], ['y']),
        makeNode('Conv', ['x', 'w'], ['z']),
      ],
      inputs: [tensorValue('x', 'float', IMAGE)],
      outputs: [tensorValue('y', 'float'), tensorValue('z', 'float')],
      initializers: [...conv, weight('b', [4, 1, 1], 5)],
    });
    const { model } = await checked(original, { x: feed(IMAGE) }, { tolerance: TOLERANCE });
    assert.deepEqual(opsOf(model), ['Conv', 'Conv']);
    assert.deepEqual(
      model.graph.nodes.map(({ inputs }) => inputs.length),
      [3, 2],
    );
  });
});
