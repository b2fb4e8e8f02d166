import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bindFeeds } from '../../src/data/bind-feeds.ts';
import type { Model } from '../../src/onnx/model.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';
import { runStep, type StepOutcome } from '../../src/passes/pass-manager.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { CLASSES, stripes, teacherNet, trainingContext } from '../passes/distill/helpers.ts';
import { contextOf, cosine, net, noise, operators, outputOf, weight } from '../passes/quantize/helpers.ts';

describe('preset int4-weights', () => {
  it('puts products in 4 bits without any data, and leaves convolutions with the reason', async () => {
    const dims = [2, 4, 6, 6];
    const network = (): Model =>
      net({
        nodes: [
          makeNode('Conv', ['x', 'k'], ['c'], { name: 'conv', attributes: { pads: [1, 1, 1, 1] } }),
          makeNode('Flatten', ['c'], ['f'], { name: 'flatten' }),
          makeNode('MatMul', ['f', 'w'], ['h'], { name: 'hidden' }),
          makeNode('Relu', ['h'], ['r'], { name: 'relu' }),
          makeNode('Gemm', ['r', 'v', 'b'], ['y'], { name: 'head', attributes: { transB: 1 } }),
        ],
        tensors: [
          weight('k', [4, 4, 3, 3], 1),
          weight('w', [144, 64], 2),
          weight('v', [10, 64], 3),
          weight('b', [10], 4),
        ],
        inputs: { x: dims },
        outputs: { y: [2, 10] },
      });
    const model = network();
    const outcomes: StepOutcome[] = [];
    for (const step of resolveRecipe('int4-weights').steps) outcomes.push(await runStep(model, step, contextOf()));
    verifyModel(model);
    const last = outcomes.at(-1)!;
    assert.equal(last.changes, 2);
    assert.deepEqual(
      last.skipped.map(({ node }) => node),
      ['conv'],
    );
    assert.equal(operators(model)['MatMulNBits'], 2);
    const layers = last.details['layers'] as {
      bits: number;
      blockSize: number;
      bytes: { before: number; after: number };
    }[];
    assert.deepEqual(
      layers.map(({ bits, blockSize }) => [bits, blockSize]),
      [
        [4, 32],
        [4, 32],
      ],
    );
    // 4 bits, and a scale and a zero point for each block: 5.125 bits a weight where rows fill their blocks, 144 do not.
    for (const { bytes } of layers) assert.ok(bytes.after < 0.19 * bytes.before);
    const x = { x: { type: 'float' as const, dims, data: noise(288, 100) } };
    assert.ok(cosine(await outputOf(network(), x), await outputOf(model, x)) > 0.99);
  });
});

/** Runs a preset that trains, on a ResNet-8 that has learned nothing yet, and says how many held-out samples the result gets right. */
async function trained(preset: string) {
  const [model, data] = [teacherNet(), stripes(300)];
  const outcomes: StepOutcome[] = [];
  for (const step of resolveRecipe(preset).steps) {
    const context = trainingContext(model, data);
    const calibration = bindFeeds(data, { role: 'calibration' }, model.graph.inputs);
    outcomes.push(await runStep(model, step, { ...context, data: { ...context.data, calibration } }));
  }
  verifyModel(model);
  const last = outcomes.at(-1)!;
  return {
    model,
    last,
    epochs: last.training?.find(({ name }) => name === 'model')?.epochs ?? [],
    right: await rightShare(model),
  };
}

async function rightShare(model: Model): Promise<number> {
  const samples = 120;
  const held = stripes(samples, 1, 77);
  let right = 0;
  for await (const { arrays } of held.batches({ batchSize: samples, names: ['images', 'labels'] })) {
    const labels = arrays['labels']!.data as BigInt64Array;
    const scores = await outputOf(model, { [model.graph.inputs[0]!.name]: arrays['images']! });
    assert.ok(scores.every(Number.isFinite));
    labels.forEach((label, i) => {
      const own = [...scores.slice(i * CLASSES, (i + 1) * CLASSES)];
      if (own.indexOf(Math.max(...own)) === Number(label)) right += 1;
    });
  }
  return right / samples;
}

/** The convolutions of a ResNet-8 between the first and the last layer: two in each of three stages, and two shortcuts. */
const HIDDEN = 8;

describe('preset qat-int4', () => {
  it('trains 4-bit weights and activations between 8-bit ends, and stores weights packed', async () => {
    const { model, last, epochs } = await trained('qat-int4');
    const layers = last.details['layers'] as { weight?: { bits: number; storedAs: string }; activationBits: number }[];
    const widths = layers.flatMap(({ weight: own, activationBits }) =>
      own === undefined ? [] : [[own.bits, activationBits, own.storedAs]],
    );
    assert.deepEqual(widths, [[8, 8, 'int8'], ...Array<unknown>(HIDDEN).fill([4, 4, 'int4']), [8, 8, 'int8']]);
    const stored = [...model.graph.initializers.values()].filter(
      ({ dataType, dims }) => dataType === 'int4' && dims.length === 4,
    );
    assert.equal(stored.length, HIDDEN);
    for (const tensor of stored) assert.equal(tensor.bytes().length, Math.ceil(tensor.elementCount / 2));
    assert.ok(epochs.at(-1)!.loss < epochs[0]!.loss);
  });
});

describe('preset binary', () => {
  it('trains weights of one bit between ends in float, and stores eight in a byte', async () => {
    const { model, last, epochs, right } = await trained('binary');
    assert.equal(last.changes, HIDDEN);
    const bits = [...model.graph.initializers.values()].filter(({ name }) => name.endsWith('weight_bits'));
    const layers = last.details['layers'] as { shape: number[] }[];
    assert.deepEqual(
      bits.map((tensor) => tensor.bytes().length),
      layers.map(({ shape }) => Math.ceil(shape.reduce((product, size) => product * size, 1) / 8)),
    );
    const float = [...model.graph.initializers.values()].filter(
      ({ name, dims }) => /^(stem|head)/.test(name) && dims.length > 1,
    );
    assert.deepEqual(
      float.map(({ dataType }) => dataType),
      ['float', 'float'],
    );
    assert.ok(epochs.at(-1)!.loss < 0.9 * epochs[0]!.loss);
    // Chance is a third; it had twenty epochs of two steps.
    assert.ok(right > 0.55, `${right} right`);
  });
});
