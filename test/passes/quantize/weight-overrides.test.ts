import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../../src/errors.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { isPackedType, unpackIntegers } from '../../../src/onnx/packed-integers.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { makeCostTable, type KernelCost } from '../../../src/passes/cost/kernel-cost-table.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { apply, contextOf, cosine, net, noise, optimizedOperators, outputOf, source, weight } from './helpers.ts';

const DIMS = [1, 4, 6, 6] as const;
const feeds = { x: { type: 'float', dims: DIMS, data: noise(144, 100) } } as const;
const context = contextOf(source('x', DIMS));
const pads = [1, 1, 1, 1];

/** Two convolutions and a classifier; the second convolution's channels lie further and further above zero. */
function chain(): Model {
  const uneven = weight('w2', [4, 4, 3, 3], 3).floats();
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads }, name: 'conv1' }),
      makeNode('Conv', ['c1', 'w2'], ['c2'], { attributes: { pads }, name: 'conv2' }),
      makeNode('Flatten', ['c2'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3'], ['y'], { name: 'head' }),
    ],
    tensors: [
      weight('w1', [4, 4, 3, 3], 1),
      weight('b1', [4], 2),
      Tensor.float(
        'w2',
        uneven.map((value, i) => value + 0.1 * Math.floor(i / 36)),
        [4, 4, 3, 3],
      ),
      weight('w3', [144, 5], 4),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 5] },
  });
}

interface Weight {
  readonly type: string;
  readonly scales: readonly number[];
  readonly zeroPoints: readonly number[];
  readonly codes: readonly number[];
}

/** A node's weight as the file has it. */
function weightOf(model: Model, name: string): Weight {
  const { graph } = model;
  const node = graph.nodes.find((candidate) => candidate.name === name)!;
  const dequantize = graph.nodes.find(({ outputs }) => outputs[0] === node.inputs[1])!;
  const [codes, scale, zeroPoint] = dequantize.inputs.map((input) => graph.initializers.get(input)!);
  const integers = (tensor: Tensor): number[] =>
    isPackedType(tensor.dataType)
      ? [...unpackIntegers(tensor.dataType, tensor.bytes(), tensor.elementCount)]
      : tensor.integers();
  return {
    type: codes!.dataType,
    scales: [...scale!.floats()],
    zeroPoints: integers(zeroPoint!),
    codes: integers(codes!),
  };
}

async function quantized(options: object, changes = context) {
  const model = chain();
  const result = await apply(quantizeStatic, model, options, changes);
  verifyModel(model);
  return { model, ...result };
}

function refused(options: object, code: string, message: RegExp, changes = context) {
  return assert.rejects(
    apply(quantizeStatic, chain(), options, changes),
    (error) => error instanceof CompressionError && error.code === code && message.test(error.message),
  );
}

describe('weightOverrides of quantize.static', () => {
  it('give one weight its type, by the name of the node; the others keep theirs', async () => {
    const { model } = await quantized({ weightOverrides: { conv2: { type: 'int4' } } });
    assert.deepEqual(
      ['conv1', 'conv2', 'head'].map((name) => weightOf(model, name).type),
      ['int8', 'int4', 'int8'],
    );
    assert.ok(cosine(await outputOf(chain(), feeds), await outputOf(model, feeds)) > 0.98);
  });

  it('take the first glob that matches the node, its type, or the initializer', async () => {
    const { model } = await quantized({
      weightOverrides: { w2: { type: 'uint8' }, Conv: { type: 'int4' }, 'hea?': { perChannel: false } },
    });
    const [conv1, conv2, head] = ['conv1', 'conv2', 'head'].map((name) => weightOf(model, name));
    assert.deepEqual([conv1!.type, conv2!.type, head!.type], ['int4', 'uint8', 'int8']);
    assert.deepEqual([conv1!.scales.length, conv2!.scales.length, head!.scales.length], [4, 4, 1]);
  });

  it('give zero points: each channel covers its own range, in kernels and in float alike', async () => {
    const { model } = await quantized({ weightOverrides: { conv2: { type: 'uint8', symmetric: false } } });
    const { scales, zeroPoints } = weightOf(model, 'conv2');
    const values = chain().graph.initializers.get('w2')!.floats();
    for (let channel = 0; channel < 4; channel += 1) {
      const own = values.slice(channel * 36, channel * 36 + 36);
      const [low, high] = [Math.min(0, ...own), Math.max(0, ...own)];
      assert.equal(scales[channel], Math.fround((high - low) / 255));
      assert.equal(zeroPoints[channel], Math.round((-low / (high - low)) * 255) + 0);
    }
    assert.ok(new Set(zeroPoints).size > 1, 'channels have zero points of their own');
    const fused = await optimizedOperators(model);
    assert.equal(fused['QLinearConv'], 2);
    // Integer kernels compute what the float operators between quantizers do: at most a step of the output's own rounding.
    const [plain, optimized] = [await outputOf(model, feeds, 'disabled'), await outputOf(model, feeds, 'all')];
    assert.ok(cosine(plain, optimized) > 0.9999);
    assert.ok(cosine(await outputOf(chain(), feeds), optimized) > 0.995);
  });

  it('give a range, with one scale, that clips what is beyond it', async () => {
    const { model } = await quantized(
      { weightOverrides: { w1: { min: -0.127, max: 0.1 } } },
      contextOf(source('x', DIMS), { targetCpu: 'x64-vnni' }),
    );
    const { scales, codes } = weightOf(model, 'conv1');
    // Symmetric: the range reaches as far down as up. None of these values lies half-way between two codes.
    const expected = Array.from(
      chain().graph.initializers.get('w1')!.floats(),
      (value) => Math.round(Math.min(Math.max(value, -0.127), 0.127) / Math.fround(0.001)) + 0,
    );
    assert.deepEqual(scales, [Math.fround(0.001)]);
    assert.deepEqual(codes, expected);
    assert.deepEqual([Math.min(...codes), Math.max(...codes)], [-127, 127]);
  });

  it('keep a range free of saturation where the target asks for it', async () => {
    const { model, details } = await quantized({ weightOverrides: { w1: { min: -0.1, max: 0.1 } } });
    const { codes, scales } = weightOf(model, 'conv1');
    assert.deepEqual([Math.min(...codes), Math.max(...codes)], [-64, 64]);
    assert.deepEqual(scales, [Math.fround(0.2 / 128)]);
    assert.equal((details['saturationRisk'] as { nodes: string[] }).nodes.length, 0);
  });

  it('hold under learned rounding, with zero points by channel', async () => {
    const weightOverrides = { conv2: { type: 'uint4', symmetric: false } };
    const nearest = await quantized({ weightOverrides });
    const learned = await quantized({ weightOverrides, rounding: 'gptq' });
    const [a, b] = [weightOf(nearest.model, 'conv2'), weightOf(learned.model, 'conv2')];
    assert.deepEqual([a.scales, a.zeroPoints], [b.scales, b.zeroPoints]);
    assert.ok(new Set(a.zeroPoints).size > 1);
    assert.notDeepEqual(a.codes, b.codes);
    // On the data it was fitted to, a layer's output is nearer to that in float.
    const float = await outputOf(chain(), feeds);
    const [before, after] = [await outputOf(nearest.model, feeds), await outputOf(learned.model, feeds)];
    assert.ok(cosine(float, after) > cosine(float, before));
    const { skipped } = await quantized({ weightOverrides, rounding: 'adaround', iterations: 100 });
    assert.deepEqual(
      skipped.filter(({ node }) => node === 'conv2'),
      [{ node: 'conv2', reason: 'rounded to nearest: adaround takes one zero point for all channels; use gptq' }],
    );
  });

  it('write 2-bit weights with zero points that ONNX Runtime runs', async () => {
    const { model } = await quantized({ weightOverrides: { conv2: { type: 'uint2', symmetric: false } } });
    const node = model.graph.nodes.find(({ name }) => name === 'conv2')!;
    const scaled = model.graph.nodes.find(({ outputs }) => outputs[0] === node.inputs[1])!;
    assert.equal(scaled.opType, 'Mul');
    assert.ok(cosine(await outputOf(chain(), feeds), await outputOf(model, feeds)) > 0.9);
  });

  it('stand in integer operators', async () => {
    const { model } = await quantized({
      format: 'qoperator',
      weightOverrides: { w2: { type: 'uint8', symmetric: false }, head: { perChannel: false } },
    });
    assert.ok(cosine(await outputOf(chain(), feeds), await outputOf(model, feeds)) > 0.995);
  });

  it('are not overruled by the kernel cost table where no kernel is meant', async () => {
    const slow: KernelCost[] = [
      { kernel: 'stem-conv', shape: [4, 36, 36], work: 5184, floatNs: 1000, int8Ns: 9000 },
      { kernel: 'matmul', shape: [5, 144, 1], work: 720, floatNs: 100, int8Ns: 900 },
      { kernel: 'boundary', shape: [144], work: 144, floatNs: 0, int8Ns: 500 },
      { kernel: 'conv-boundary', shape: [144], work: 144, floatNs: 0, int8Ns: 500 },
    ];
    const costTable = makeCostTable({ cpuKind: 'test', runtimeVersion: 'test', threads: 1, entries: slow });
    const { model, skipped } = await quantized(
      { weightOverrides: { conv2: { type: 'int4' } } },
      contextOf(source('x', DIMS), { costTable }),
    );
    assert.equal(weightOf(model, 'conv2').type, 'int4');
    assert.deepEqual(
      skipped
        .filter(({ reason }) => reason.includes('kernel cost table'))
        .map(({ node }) => node)
        .sort(),
      ['conv1', 'head'],
    );
  });

  it('fail where they match nothing, and say what there is', async () => {
    await refused(
      { weightOverrides: { conv9: { type: 'int4' } } },
      'RECIPE_NO_MATCH',
      /weightOverrides "conv9" matches no layer .* conv1 \(w1\), conv2 \(w2\), head \(w3\)$/,
    );
    await refused(
      { weightOverrides: { flatten: { type: 'int4' } } },
      'RECIPE_NO_MATCH',
      /"flatten" matches no layer with a weight to quantize, only nodes that stay in float or have none;/,
    );
    await refused(
      { exclude: ['conv2'], weightOverrides: { w2: { type: 'int4' } } },
      'RECIPE_NO_MATCH',
      /only nodes that stay in float/,
    );
  });

  it('fail where nodes that share a weight get different ones', async () => {
    const model = chain();
    model.graph.nodes[1]!.inputs[1] = 'w1';
    await assert.rejects(
      apply(quantizeStatic, model, { weightOverrides: { conv1: { type: 'uint8' } } }, context),
      (error) =>
        error instanceof CompressionError &&
        error.code === 'RECIPE_INVALID' &&
        error.message.includes('gives "conv1" {"type":"uint8"} and "conv2" {}, which share the weight "w1"'),
    );
  });

  it('fail where codes could saturate, and not where the target cannot', async () => {
    const weightOverrides = { conv2: { symmetric: false } };
    await refused(
      { weightOverrides },
      'RECIPE_INVALID',
      /could saturate int16 on x64 without VNNI .* give it type uint8/,
    );
    const { model } = await quantized({ weightOverrides }, contextOf(source('x', DIMS), { targetCpu: 'x64-vnni' }));
    assert.ok(weightOf(model, 'conv2').zeroPoints.some((zeroPoint) => zeroPoint !== 0));
  });

  it('refuse nothing at all, half a range, one without zero, and a range for each channel', () => {
    const parse = (override: object) => quantizeStatic.options.safeParse({ weightOverrides: { w: override } });
    assert.ok(parse({ min: -1, max: 1, type: 'uint8', symmetric: false }).success);
    for (const [override, message] of [
      [{}, /at least one of/],
      [{ min: -1 }, /both min and max/],
      [{ min: 0.1, max: 1 }, /must have 0 between/],
      [{ min: 0, max: 0 }, /min be below max/],
      [{ min: -1, max: 1, perChannel: true }, /one scale a tensor/],
      [{ type: 'int16' }, /type/],
    ] as const) {
      const { error } = parse(override);
      assert.match(JSON.stringify(error?.issues), message);
    }
  });

  it('count in what types can be written together', () => {
    const requires = (options: object) => quantizeStatic.requires(chain(), quantizeStatic.options.parse(options)) ?? '';
    assert.match(
      requires({ format: 'qoperator', weightOverrides: { w1: { type: 'int4' } } }),
      /use format qdq for int4/,
    );
    assert.match(requires({ activations: 'int8', weightOverrides: { w1: { type: 'uint8' } } }), /have no kernel/);
  });
});
