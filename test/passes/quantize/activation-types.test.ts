import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { StaticOptions } from '../../../src/passes/quantize/static-options.ts';
import type { LayerChoice } from '../../../src/passes/quantize/static-request.ts';
import { quantizeStatically } from '../../../src/passes/quantize/static-run.ts';
import { apply, contextOf, cosine, net, noise, operators, outputOf, source, weight } from './helpers.ts';

const DIMS = [1, 4, 6, 6] as const;
const feeds = { x: { type: 'float', dims: DIMS, data: noise(144, 100) } } as const;
const context = contextOf(source('x', DIMS));
const pads = [1, 1, 1, 1];

/** One value read by two convolutions and a sum. */
function fork(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c'], { attributes: { pads }, name: 'stem' }),
      makeNode('Conv', ['c', 'w2'], ['left'], { attributes: { pads }, name: 'left' }),
      makeNode('Conv', ['c', 'w3'], ['right'], { attributes: { pads }, name: 'right' }),
      makeNode('Add', ['left', 'right'], ['sum'], { name: 'sum' }),
      makeNode('Add', ['sum', 'c'], ['y'], { name: 'skip' }),
    ],
    tensors: [
      weight('w1', [4, 4, 3, 3], 1),
      weight('b1', [4], 2),
      weight('w2', [4, 4, 3, 3], 3),
      weight('w3', [4, 4, 3, 3], 4),
    ],
    inputs: { x: DIMS },
    outputs: { y: DIMS },
  });
}

/** The integer types that a value passes through before a node reads it, the nearest first. */
function widthsBefore(model: Model, nodeName: string, index = 0): string[] {
  const makers = new Map(model.graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const types: string[] = [];
  let value = model.graph.nodes.find(({ name }) => name === nodeName)!.inputs[index]!;
  for (let node = makers.get(value); node !== undefined; node = makers.get(value)) {
    if (node.opType === 'QuantizeLinear') types.push(model.graph.initializers.get(node.inputs[2]!)!.dataType);
    else if (node.opType !== 'DequantizeLinear') break;
    value = node.inputs[0]!;
  }
  return types;
}

async function chosen(choices: Record<string, LayerChoice>, floor = 0.98) {
  const model = fork();
  const result = await quantizeStatically(
    model,
    { options: StaticOptions.parse({}), choices: new Map(Object.entries(choices)) },
    context,
  );
  verifyModel(model);
  assert.ok(cosine(await outputOf(fork(), feeds), await outputOf(model, feeds)) > floor);
  return { model, ...result };
}

const BYTES = { weights: 'int8', activations: 'uint8' } as const;
const WIDE = { weights: 'int8', activations: 'uint16' } as const;

describe('types of activations', () => {
  it('a value has the widest type that a layer asks for, and who asks for less reads it converted', async () => {
    const { model, details } = await chosen({ c: BYTES, left: BYTES, right: WIDE });
    assert.deepEqual(widthsBefore(model, 'left'), ['uint8', 'uint16']);
    assert.deepEqual(widthsBefore(model, 'right'), ['uint16']);
    // A sum takes what there is.
    assert.deepEqual(widthsBefore(model, 'skip', 1), ['uint16']);
    assert.deepEqual(widthsBefore(model, 'stem'), ['uint8']);
    // x, c, c again for the left one, left, right, the first sum, and the second.
    assert.equal(operators(model)['QuantizeLinear'], 7);
    const types = (details['activations'] as { value: string; type: string }[]).map(({ value, type }) => [value, type]);
    assert.deepEqual(
      types.filter(([value]) => value === 'c'),
      [
        ['c', 'uint16'],
        ['c', 'uint8'],
      ],
    );
  });

  it('nothing is converted where all readers ask for the same', async () => {
    const { model } = await chosen({ c: BYTES, left: WIDE, right: WIDE });
    assert.deepEqual(widthsBefore(model, 'left'), ['uint16']);
    assert.equal(operators(model)['QuantizeLinear'], 6);
  });

  it('biases have the scale of what the layer reads', async () => {
    const { model } = await chosen({ c: WIDE, left: BYTES, right: BYTES });
    const stem = model.graph.nodes.find(({ name }) => name === 'stem')!;
    const scaleOf = (input: number) => {
      const dequantize = model.graph.nodes.find(({ outputs }) => outputs[0] === stem.inputs[input])!;
      return model.graph.initializers.get(dequantize.inputs[1]!)!.floats();
    };
    assert.deepEqual(widthsBefore(model, 'stem'), ['uint16']);
    const expected = scaleOf(1).map((scale) => Math.fround(scale * scaleOf(0)[0]!));
    assert.deepEqual(scaleOf(2), expected);
  });

  it('a layer chosen to stay in float is left, and so is what only adds where all layers are', async () => {
    const { model, skipped } = await chosen({ c: BYTES, left: 'float', right: 'float' });
    assert.deepEqual(
      skipped.map(({ node }) => node),
      ['left', 'right'],
    );
    assert.deepEqual(widthsBefore(model, 'left'), ['uint8']);
    const all = await chosen({ c: 'float', left: 'float', right: 'float' });
    assert.equal(all.changes, 0);
    assert.deepEqual(operators(all.model), operators(fork()));
  });

  it('weights of several types stand in one model', async () => {
    const { details } = await chosen(
      {
        c: BYTES,
        left: { ...BYTES, weights: 'int4' },
        right: { ...BYTES, weights: 'int2' },
      },
      0.9,
    );
    const layers = details['layers'] as { node: string; weight?: { type: string } }[];
    assert.deepEqual(
      layers.map(({ node, weight: stored }) => [node, stored?.type]),
      [
        ['stem', 'int8'],
        ['left', 'int4'],
        ['right', 'int2'],
        ['sum', undefined],
        ['skip', undefined],
      ],
    );
  });
});

describe('overrides of quantize.static', () => {
  it('give a value a type of its own, and its readers take it as it is', async () => {
    const model = fork();
    await apply(quantizeStatic, model, { overrides: { c: { type: 'uint16' }, x: { min: -2, max: 2 } } }, context);
    verifyModel(model);
    assert.deepEqual([widthsBefore(model, 'left'), widthsBefore(model, 'stem')], [['uint16'], ['uint8']]);
    assert.ok(cosine(await outputOf(fork(), feeds), await outputOf(model, feeds)) > 0.99);
  });

  it('refuses nothing at all, half a range, and a sign that the other activations do not have', () => {
    const parse = (override: object) => quantizeStatic.options.safeParse({ overrides: { c: override } });
    assert.ok(!parse({}).success);
    assert.ok(!parse({ min: 0 }).success);
    assert.ok(parse({ min: 0, max: 1, type: 'uint16' }).success);
    const options = quantizeStatic.options.parse({ overrides: { c: { type: 'int16' } } });
    assert.match(quantizeStatic.requires(fork(), options) ?? '', /all must be signed, or none/);
  });
});
