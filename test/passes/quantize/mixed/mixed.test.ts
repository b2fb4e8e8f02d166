import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../../../src/errors.ts';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import type { DataRole, FeedSource } from '../../../../src/passes/pass.ts';
import { quantizeMixed } from '../../../../src/passes/quantize/mixed/mixed.ts';
import { quantizeStatic } from '../../../../src/passes/quantize/static.ts';
import { apply, contextOf, cosine, net, noise, outputOf, source, weight } from '../helpers.ts';
import { bruteForce, costOf, DIMS, labelOf, network, type BudgetReport, type Choice } from './helpers.ts';

const context = contextOf(source('x', DIMS));
const feeds = { x: { type: 'float', dims: DIMS, data: noise(256, 100) } } as const;
const pads = [1, 1, 1, 1];

async function mixed(options: object, model = network()) {
  const result = await apply(quantizeMixed, model, options, context);
  verifyModel(model);
  return {
    model,
    ...result,
    choices: result.details['choices'] as readonly Choice[],
    budget: result.details['budget'] as BudgetReport,
  };
}

describe('quantize.mixed', () => {
  for (const averageBits of [2, 2.5, 3.1, 4, 5.7, 8]) {
    it(`chooses what trying everything would choose (${averageBits} bits on average)`, async () => {
      const { choices, budget } = await mixed({ budget: { averageBits } });
      const weights = [288, 576, 864, 1152];
      assert.deepEqual(
        choices.map((layer) => layer.weights),
        weights,
      );
      assert.equal(budget.limit, Math.floor(averageBits * 2880 + 1e-6));
      assert.ok(budget.after <= budget.limit);
      const { least, chosen } = bruteForce(choices, budget.limit);
      // The same few numbers added up in another order.
      assert.ok(Math.abs(least - chosen) <= 1e-12 * least);
      assert.equal(budget.gap, 0);
    });
  }

  it('writes each layer in the type chosen for it, and the model still computes what it did', async () => {
    const { model, choices, changes } = await mixed({ budget: { averageBits: 5 } });
    assert.equal(changes, 5);
    const stored = new Map(
      [...model.graph.initializers.values()].map(({ name, dataType }) => [name.replace(/_q.*$/, ''), dataType]),
    );
    const names = ['w1', 'w2', 'w3', 'w4'];
    assert.deepEqual(
      choices.map(({ choice }) => (choice === 'float' ? 'float' : choice.weights)),
      names.map((name) => stored.get(name)),
    );
    assert.ok(new Set(choices.map(labelOf)).size > 1);
    // Noise as weights; an average of five bits is better than uniform int4, which reaches 0.97 in its own test.
    assert.ok(cosine(await outputOf(network(), feeds), await outputOf(model, feeds)) > 0.97);
  });

  it('loses no more than uniform weights of the same size, by its own measure', async () => {
    const { choices } = await mixed({ budget: { averageBits: 4 } });
    const uniform = choices.map(({ candidates }) => candidates.find(({ choice }) => choice === 'int4/uint8')!.loss);
    const { chosen } = bruteForce(choices, Infinity);
    assert.ok(chosen <= uniform.reduce((sum, loss) => sum + loss, 0));
  });

  it('writes uniform weights as quantize.static does', async () => {
    const { model } = await mixed({ candidates: [{ weights: 'int4' }] });
    const same = network();
    await apply(quantizeStatic, same, { weights: 'int4' }, context);
    assert.deepEqual(encodeModel(model), encodeModel(same));
  });

  it('takes the types that the recipe gives to all layers, without measuring, whatever their size', async () => {
    const names = quantizeMixed.layers?.(network(), quantizeMixed.options.parse({})) ?? [];
    const given = Object.fromEntries(names.map((name, at) => [name, at % 2 === 0 ? { weights: 'int8' } : 'float']));
    const { choices, details } = await mixed({ layers: given });
    assert.deepEqual(
      choices.map(({ node, choice }) => [node, choice === 'float' ? choice : choice.weights]),
      names.map((name, at) => [name, at % 2 === 0 ? 'int8' : 'float']),
    );
    assert.ok(choices.every(({ candidates }) => candidates.length === 1 && candidates[0]?.loss === 0));
    assert.equal(details['budget'], undefined);
    await assert.rejects(mixed({ layers: given, budget: { averageBits: 4 } }), { code: 'PASS_PRECONDITION' });
  });

  it('suggests to a search what it would choose within the limits of the search', async () => {
    const { model, choices } = await mixed({ budget: { maxBytes: 9000 } });
    const options = quantizeMixed.options.parse({ layers: { '*': 'float' } });
    const found = await quantizeMixed.suggest?.(network(), options, context, { maxBytes: 9000 });
    assert.deepEqual(found, Object.fromEntries(choices.map(({ node, choice }) => [node, choice])));
    const again = await mixed({ layers: found });
    assert.deepEqual(encodeModel(again.model), encodeModel(model));
  });

  it('keeps a limit on the bytes of the file', async () => {
    const before = encodeModel(network()).byteLength;
    const uniform = (await mixed({ candidates: [{ weights: 'int4' }] })).model;
    for (const budget of [{ maxBytes: encodeModel(uniform).byteLength }, { bytesRatio: 0.7 }]) {
      const { model, budget: report } = await mixed({ budget });
      const bytes = encodeModel(model).byteLength;
      assert.equal(report.after, bytes);
      assert.ok(bytes <= report.limit);
      assert.equal(report.before, before);
    }
  });

  it('keeps a limit on bit operations, as the report counts them', async () => {
    const { model, budget } = await mixed({ budget: { bopsRatio: 0.04 } });
    assert.equal(budget.before, macsOf(network()).bitOperations);
    assert.equal(budget.after, macsOf(model).bitOperations);
    assert.ok(budget.after <= 0.04 * budget.before);
  });

  it('keeps a limit on bit operations given as a number', async () => {
    const { bitOperations } = macsOf(network());
    const maxBops = Math.floor(bitOperations / 30);
    const { model, choices, budget } = await mixed({ budget: { maxBops } });
    assert.deepEqual([budget.limit, budget.before], [maxBops, bitOperations]);
    assert.equal(budget.after, macsOf(model).bitOperations);
    assert.ok(budget.after <= maxBops);
    // What is no layer of these costs the same whatever is chosen.
    const layers = choices.reduce((sum, layer) => sum + costOf(layer), 0);
    const { least, chosen } = bruteForce(choices, maxBops - (budget.after - layers));
    assert.ok(Math.abs(least - chosen) <= 1e-12 * least);
    await assert.rejects(
      apply(quantizeMixed, network(), { budget: { maxBops: 1000 } }, context),
      (error) => error instanceof CompressionError && error.message.includes('maxBops allows 1000 '),
    );
  });

  it('says what a budget out of reach would need', async () => {
    await assert.rejects(mixed({ budget: { averageBits: 1.5 } }), {
      code: 'PASS_PRECONDITION',
      message: /allows 4320 bits of weights, .* it is 5760 \(92160 in float\)/,
    });
    await assert.rejects(mixed({ budget: { maxBytes: 100 } }), { code: 'PASS_PRECONDITION' });
    await assert.rejects(mixed({ budget: { latencyRatio: 0.5 } }), {
      code: 'PASS_PRECONDITION',
      message: /kernel cost table/,
    });
  });

  it('gives the same bytes for the same request, and changes nothing the second time', async () => {
    const [a, b] = [await mixed({ rounding: 'gptq' }), await mixed({ rounding: 'gptq' })];
    assert.deepEqual(encodeModel(a.model), encodeModel(b.model));
    const again = await mixed({ rounding: 'gptq' }, a.model);
    assert.equal(again.changes, 0);
    assert.deepEqual(encodeModel(a.model), encodeModel(b.model));
  });

  it('takes the type of a layer from the recipe, and counts it in the budget', async () => {
    const { choices, budget } = await mixed({
      budget: { averageBits: 5 },
      layers: { conv1: { weights: 'int8' }, 'h*': 'float' },
      candidates: [{ weights: 'int4' }, { weights: 'int2' }],
    }).catch((error: unknown) => ({ choices: [], budget: error }));
    // 1,152 weights in float are 36,864 bits already: more than 5 for each of 2,880.
    assert.deepEqual(choices, []);
    assert.match(String(budget), /14400 bits/);
    const found = await mixed({
      budget: { averageBits: 16 },
      layers: { conv1: { weights: 'int8' }, 'h*': 'float' },
      candidates: [{ weights: 'int4' }, { weights: 'int2' }],
    });
    assert.deepEqual(found.choices.map(labelOf), ['int8/uint8', 'int4/uint8', 'int4/uint8', 'float']);
    assert.ok(found.skipped.some(({ node, reason }) => node === 'head' && reason.includes('float')));
    await assert.rejects(mixed({ layers: { nothing: 'float' } }), { code: 'RECIPE_NO_MATCH' });
  });

  it('leaves out what the recipe excludes', async () => {
    const { choices, skipped } = await mixed({ exclude: ['conv1'] });
    assert.deepEqual(
      choices.map(({ node }) => node),
      ['conv2', 'conv3', 'head'],
    );
    assert.deepEqual(
      skipped.map(({ node }) => node),
      ['conv1'],
    );
  });

  it('gives nodes that share a weight one type', async () => {
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'w'], ['a'], { attributes: { pads }, name: 'one' }),
        makeNode('Conv', ['a', 'w'], ['b'], { attributes: { pads }, name: 'two' }),
        makeNode('Conv', ['b', 'v'], ['y'], { attributes: { pads }, name: 'three' }),
      ],
      tensors: [weight('w', [4, 4, 3, 3], 1), weight('v', [4, 4, 3, 3], 2)],
      inputs: { x: DIMS },
      outputs: { y: DIMS },
    });
    const { choices, details } = await mixed({ budget: { averageBits: 5 } }, model);
    assert.deepEqual(
      choices.map(({ node, weights }) => [node, weights]),
      [
        ['one', 144],
        ['three', 144],
      ],
    );
    const written = details['layers'] as { weight: { type: string } }[];
    assert.equal(written[0]?.weight.type, written[1]?.weight.type);
    const options = { layers: { one: { weights: 'int8' }, two: { weights: 'int4' } } };
    await assert.rejects(mixed(options, twoOfOne()), { code: 'RECIPE_INVALID', message: /share a weight: one, two/ });
  });

  it('refuses options that contradict each other', () => {
    const parses = (options: object): boolean => quantizeMixed.options.safeParse(options).success;
    assert.ok(!parses({ budget: {} }));
    assert.ok(!parses({ budget: { averageBits: 4, maxBytes: 1000 } }));
    assert.ok(!parses({ candidates: [{ weights: 'int8' }, { weights: 'int8', activations: 'uint8' }] }));
    assert.ok(!parses({ candidates: [{ weights: 'int8' }, { weights: 'int8', activations: 'int16' }] }));
    assert.ok(!parses({ candidates: [{ weights: 'uint8', activations: 'int8' }] }));
    const options = quantizeMixed.options.parse({ rounding: 'adaround', biasCorrection: 'fast' });
    assert.match(quantizeMixed.requires(network(), options) ?? '', /correct it twice/);
  });
});

function twoOfOne(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w'], ['a'], { attributes: { pads }, name: 'one' }),
      makeNode('Conv', ['a', 'w'], ['y'], { attributes: { pads }, name: 'two' }),
    ],
    tensors: [weight('w', [4, 4, 3, 3], 1)],
    inputs: { x: DIMS },
    outputs: { y: DIMS },
  });
}

describe('sensitivity of one layer alone', () => {
  // y = x W, two by two; by hand: W in int8, scale max|W| of the column / 127 = 0.5 / 127 and 1 / 127; x in uint8.
  const product = (): Model =>
    net({
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' })],
      tensors: [Tensor.float('w', [0.3, -1, 0.5, 0.2], [2, 2])],
      inputs: { x: [1, 2] },
      outputs: { y: [1, 2] },
    });
  const samples = [
    [0.25, -0.75],
    [1, 0.5],
  ];
  const feedsOf = (labels?: NdArray): FeedSource => ({
    samples: 2,
    async *batches() {
      for (const sample of samples) {
        const x = { type: 'float' as const, dims: [1, 2], data: Float32Array.from(sample) };
        yield await Promise.resolve({ feeds: { x }, count: 1, ...(labels === undefined ? {} : { labels }) });
      }
    },
  });
  const label: NdArray = { type: 'int64', dims: [1], data: BigInt64Array.of(1n) };
  const scaleX = 1.75 / 255;
  const zero = Math.round(0.75 / scaleX);
  const rounded = (value: number, scale: number): number => Math.round(value / scale) * scale;
  const weights = [rounded(0.3, 0.5 / 127), rounded(-1, 1 / 127), 0.5, rounded(0.2, 1 / 127)];
  const outputs = samples.map(([a = 0, b = 0]) => {
    const [p, q] = [a, b].map((value) => (Math.round(value / scaleX) + zero - zero) * scaleX) as [number, number];
    return {
      exact: [a * 0.3 + b * 0.5, -a + b * 0.2],
      noisy: [p * weights[0]! + q * weights[2]!, p * weights[1]! + q * weights[3]!],
    };
  });
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const sqnr =
    sum(outputs.flatMap(({ exact, noisy }) => exact.map((value, i) => (value - noisy[i]!) ** 2))) /
    sum(outputs.flatMap(({ exact }) => exact.map((value) => value ** 2)));
  const softmax = (scores: readonly number[]): number[] =>
    scores.map((score) => Math.exp(score) / sum(scores.map((other) => Math.exp(other))));
  const kl =
    sum(
      outputs.flatMap(({ exact, noisy }) => {
        const q = softmax(noisy);
        return softmax(exact).map((p, i) => p * Math.log(p / q[i]!));
      }),
    ) / 2;

  async function studied(options: object, data: Partial<Record<DataRole, FeedSource>> = {}) {
    const given = { candidates: [{ weights: 'int8' }, { weights: 'int4' }], budget: { averageBits: 8 }, ...options };
    const own = contextOf(feedsOf(), { targetCpu: 'x64-vnni' });
    const { details } = await apply(quantizeMixed, product(), given, { ...own, data: { ...own.data, ...data } });
    const [layer] = details['choices'] as Choice[];
    return { by: details['sensitivity'], losses: layer!.candidates.map(({ loss }) => loss) };
  }

  for (const [by, expected] of Object.entries({ sqnr, kl })) {
    it(`${by} is what the formula says`, async () => {
      const { losses } = await studied({ sensitivity: by });
      // Scales are float32, so a quantized value is off by some parts in 10^7, its error by a part in 10^4.
      assert.ok(Math.abs(losses[0]! / expected - 1) < 1e-3, `${losses[0]} ${expected}`);
      assert.ok(losses[1]! > losses[0]!);
    });
  }

  it('is kl by default where scores are of classes, which labels tell, else sqnr', async () => {
    assert.deepEqual(await studied({}), await studied({ sensitivity: 'sqnr' }));
    const evaluation = feedsOf(label);
    assert.deepEqual(await studied({}, { evaluation }), await studied({ sensitivity: 'kl' }));
  });

  it('kl needs scores of classes', async () => {
    const model = network();
    const flat = model.graph.nodes.findIndex(({ opType }) => opType === 'Flatten');
    model.graph.nodes.splice(flat);
    model.graph.outputs.splice(0, 1, { ...model.graph.outputs[0]!, name: 'r3', type: undefined });
    await assert.rejects(mixed({ sensitivity: 'kl' }, model), {
      code: 'PASS_PRECONDITION',
      message: /\[samples, classes\]/,
    });
  });
});

describe('sensitivity metric', () => {
  it('goes by lost accuracy first, and needs class labels', async () => {
    const labels: number[] = [];
    const samples = Array.from({ length: 40 }, (_, i) => noise(256, 900 + i));
    for (const data of samples) {
      const scores = await outputOf(network(), { x: { type: 'float', dims: DIMS, data } });
      labels.push(scores.indexOf(scores.reduce((a, b) => Math.max(a, b))));
    }
    const labelled = {
      samples: samples.length,
      async *batches() {
        for (const [i, data] of samples.entries()) {
          const own = BigInt64Array.of(BigInt(labels[i]!));
          const x = { type: 'float' as const, dims: DIMS, data };
          yield await Promise.resolve({
            feeds: { x },
            labels: { type: 'int64' as const, dims: [1], data: own },
            count: 1,
          });
        }
      },
    };
    const options = { sensitivity: 'metric', budget: { averageBits: 4 }, samples: 40 };
    const { details } = await apply(quantizeMixed, network(), options, contextOf(labelled));
    const losses = (details['choices'] as Choice[]).flatMap(({ candidates }) => candidates.map(({ loss }) => loss));
    // Each is a number of the 40 samples, and less than a thousandth of one for the noise.
    for (const loss of losses) assert.ok(Math.abs(loss * 40 - Math.round(loss * 40)) < 1e-3, String(loss));
    assert.ok(losses.some((loss) => loss > 1 / 40));
    assert.ok((details['measured'] as { accuracyDrop: number }).accuracyDrop >= 0);
    await assert.rejects(mixed({ sensitivity: 'metric' }), { code: 'PASS_PRECONDITION', message: /class label/ });
  });
});
