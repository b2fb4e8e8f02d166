import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../../src/errors.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { Graph } from '../../../src/onnx/graph.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { makeCostTable, type KernelCost } from '../../../src/passes/cost/kernel-cost-table.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import {
  apply,
  contextOf,
  cosine,
  net,
  noise,
  operators,
  optimizedOperators,
  outputOf,
  source,
  weight,
} from './helpers.ts';

const DIMS = [1, 4, 8, 8] as const;
const feeds: Record<string, NdArray> = { x: { type: 'float', dims: DIMS, data: noise(256, 100) } };
const context = contextOf(source('x', DIMS));
const pads = [1, 1, 1, 1];

/** A residual block, a pool, a classifier. */
function residualNet(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads }, name: 'conv1' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2', 'b2'], ['c2'], { attributes: { pads }, name: 'conv2' }),
      makeNode('Add', ['c2', 'x'], ['a'], { name: 'add' }),
      makeNode('Relu', ['a'], ['r2'], { name: 'relu2' }),
      makeNode('MaxPool', ['r2'], ['p'], { attributes: { kernel_shape: [2, 2], strides: [2, 2] }, name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3', 'b3'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      weight('w1', [4, 4, 3, 3], 1),
      weight('b1', [4], 2),
      weight('w2', [4, 4, 3, 3], 3),
      weight('b2', [4], 4),
      weight('w3', [5, 64], 5),
      weight('b3', [5], 6),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 5] },
  });
}

function convNet(extra: readonly ReturnType<typeof makeNode>[], last: string, tensors: readonly Tensor[] = []): Model {
  return net({
    nodes: [makeNode('Conv', ['x', 'w'], ['c'], { attributes: { pads }, name: 'conv' }), ...extra],
    tensors: [weight('w', [4, 4, 3, 3]), ...tensors],
    inputs: { x: DIMS },
    outputs: { [last]: DIMS },
  });
}

describe('quantize.static', () => {
  it('keeps the function of a residual network, and ONNX Runtime fuses all of it', async () => {
    const model = residualNet();
    const before = await outputOf(model, feeds);
    const result = await apply(quantizeStatic, model, {}, context);
    verifyModel(model);
    assert.equal(result.changes, 4);
    assert.deepEqual(result.skipped, []);
    // Algorithm acceptance: cosine 0.99; 8-bit rounding of seven layers of noise stays well above it.
    assert.ok(cosine(before, await outputOf(model, feeds)) > 0.995);
    const fused = await optimizedOperators(model);
    assert.deepEqual(
      [fused['QLinearConv'], fused['QLinearAdd'], fused['QGemm'], fused['Conv'], fused['Add']],
      [2, 1, 1, undefined, undefined],
    );
  });

  it('gives the same result as integer operators', async () => {
    const [qdq, integer] = [residualNet(), residualNet()];
    await apply(quantizeStatic, qdq, {}, context);
    await apply(quantizeStatic, integer, { format: 'qoperator' }, context);
    verifyModel(integer);
    assert.equal(operators(integer)['QLinearConv'], 2);
    assert.equal(operators(integer)['DequantizeLinear'], undefined);
    const [a, b] = [await outputOf(qdq, feeds), await outputOf(integer, feeds)];
    // The same kernels run in the end; the last product is float either way.
    a.forEach((value, i) => assert.ok(Math.abs(value - (b[i] ?? 0)) <= 1e-5 * Math.max(1, Math.abs(value))));
  });

  for (const options of [
    { activations: 'int8' },
    { activations: 'int8', symmetric: true },
    { activations: 'uint16' },
    { activations: 'int16', symmetric: true },
    { weights: 'uint8' },
    { perChannel: false },
    { powerOfTwoScales: true },
    { method: 'moving-average' },
    { method: 'percentile', percentile: 99.9 },
    { method: 'entropy' },
    { method: 'mse' },
  ]) {
    it(`loads, runs and stays close with ${JSON.stringify(options)}`, async () => {
      const model = residualNet();
      const before = await outputOf(model, feeds);
      await apply(quantizeStatic, model, options, context);
      verifyModel(model);
      assert.ok(cosine(before, await outputOf(model, feeds)) > 0.99);
    });
  }

  for (const [weights, bits, floor] of [
    ['int4', 4, 0.97],
    ['uint4', 4, 0.97],
    ['int2', 2, 0.6],
    ['uint2', 2, 0.6],
  ] as const) {
    it(`stores ${weights} weights packed, per channel, and raises the opset as they need`, async () => {
      const model = residualNet();
      const before = await outputOf(model, feeds);
      const { warnings, details } = await apply(quantizeStatic, model, { weights }, context);
      verifyModel(model);
      assert.equal(model.opsetImports.get(''), bits === 4 ? 21 : 25);
      const stored = [...model.graph.initializers.values()].filter(
        ({ dataType, dims }) => dataType === weights && dims.length > 1,
      );
      assert.deepEqual(
        stored.map(({ byteLength }) => byteLength),
        [(144 * bits) / 8, (144 * bits) / 8, (320 * bits) / 8],
      );
      const [layer] = details['layers'] as { weight?: { bits: number; type: string } }[];
      assert.deepEqual([layer?.weight?.bits, layer?.weight?.type], [bits, weights]);
      assert.ok(warnings.some((warning) => warning.includes('no kernels')));
      // Noise as weights: the rounding error is 1/15 (or 1/3) of the largest, uniform.
      assert.ok(cosine(before, await outputOf(model, feeds)) > floor);
    });
  }

  it('refuses integer operators for packed weights', () => {
    const options = quantizeStatic.options.parse({ weights: 'int4', format: 'qoperator' });
    assert.match(quantizeStatic.requires(residualNet(), options) ?? '', /8-bit weights only/);
  });

  it('writes a long name once, for the codes, and numbers what stands beside them', async () => {
    const long = 'features.0.block.convolution/Conv_output_0';
    const model = net({
      nodes: [
        makeNode('Conv', ['x', `${long}.weight`], [long], { attributes: { pads }, name: 'first' }),
        makeNode('Conv', [long, 'w'], ['y'], { attributes: { pads }, name: 'second' }),
      ],
      tensors: [weight(`${long}.weight`, [4, 4, 3, 3], 1), weight('w', [4, 4, 3, 3], 2)],
      inputs: { x: DIMS },
      outputs: { y: DIMS },
    });
    await apply(quantizeStatic, model, {}, context);
    const { graph } = model;
    const made = [...graph.nodes.flatMap(({ outputs }) => outputs), ...graph.initializers.keys()];
    assert.deepEqual(made.filter((name) => name.includes(long)).sort(), [`${long}.weight_q`, long, `${long}_q`].sort());
    for (const name of ['v0_s', 'v0_dq', 'v1_f', 'v1_s', 'w_q', 'w_s', 'w_dq', 'y_f'])
      assert.ok(made.includes(name), name);
  });

  it('gives the same bytes for the same request', async () => {
    const [a, b] = [residualNet(), residualNet()];
    await apply(quantizeStatic, a, {}, context);
    await apply(quantizeStatic, b, {}, context);
    assert.deepEqual(encodeModel(a), encodeModel(b));
  });

  it('changes nothing the second time', async () => {
    const model = residualNet();
    await apply(quantizeStatic, model, {}, context);
    const bytes = encodeModel(model);
    const again = await apply(quantizeStatic, model, {}, context);
    assert.equal(again.changes, 0);
    assert.deepEqual(encodeModel(model), bytes);
  });

  it('makes every power-of-two scale one', async () => {
    const model = residualNet();
    await apply(quantizeStatic, model, { powerOfTwoScales: true }, context);
    for (const node of model.graph.nodes.filter(({ opType }) => opType === 'QuantizeLinear')) {
      const [scale = 0] = model.graph.initializers.get(node.inputs[1]!)!.floats();
      assert.ok(Number.isInteger(Math.log2(scale)));
    }
  });
});

describe('Relu and Clip behind a quantizer', () => {
  const bounds = [Tensor.float('lo0', [0], []), Tensor.float('lo1', [0.5], []), Tensor.float('hi', [1], [])];

  it('are dropped when the range of the codes is the range of the clip', async () => {
    const model = convNet([makeNode('Clip', ['c', 'lo0', 'hi'], ['y'], { name: 'clip' })], 'y', bounds);
    const before = await outputOf(model, feeds);
    await apply(quantizeStatic, model, {}, context);
    assert.equal(operators(model)['Clip'], undefined);
    assert.ok(cosine(before, await outputOf(model, feeds)) > 0.995);
  });

  it('stay, on codes, when min > 0: the range was widened to contain 0', async () => {
    const model = convNet([makeNode('Clip', ['c', 'lo1', 'hi'], ['y'], { name: 'clip' })], 'y', bounds);
    await apply(quantizeStatic, model, {}, context);
    assert.equal(operators(model)['Clip'], 1);
    // The bound itself is rounded to a code: within half of 1/255.
    assert.ok((await outputOf(model, feeds)).every((value) => value >= 0.5 - 0.5 / 255 - 1e-6));
  });

  it('stay when the range is symmetric', async () => {
    const model = convNet([makeNode('Relu', ['c'], ['y'], { name: 'relu' })], 'y');
    await apply(quantizeStatic, model, { symmetric: true }, context);
    assert.equal(operators(model)['Clip'], 1);
    assert.ok((await outputOf(model, feeds)).every((value) => value >= 0));
  });

  it('stay in float when their input is read unclipped, too', async () => {
    const nodes = [
      makeNode('Relu', ['c'], ['r'], { name: 'relu' }),
      makeNode('Add', ['c', 'r'], ['y'], { name: 'add' }),
    ];
    const model = convNet(nodes, 'y');
    const before = await outputOf(model, feeds);
    const { skipped } = await apply(quantizeStatic, model, {}, context);
    assert.equal(operators(model)['Relu'], 1);
    assert.match(skipped.find(({ node }) => node === 'relu')!.reason, /unclipped/);
    assert.ok(cosine(before, await outputOf(model, feeds)) > 0.995);
  });
});

describe('scale sharing', () => {
  it('moves codes as they are, and pads with the zero point', async () => {
    const nodes = [
      makeNode('Pad', ['c', 'pads'], ['p'], { name: 'pad' }),
      makeNode('Transpose', ['p'], ['t'], { attributes: { perm: [0, 1, 3, 2] }, name: 'transpose' }),
      makeNode('Conv', ['t', 'w2'], ['y'], { name: 'conv2' }),
    ];
    const tensors = [Tensor.int64('pads', [0, 0, 1, 1, 0, 0, 1, 1]), weight('w2', [4, 4, 3, 3], 9)];
    const model = convNet(nodes, 'y', tensors);
    const before = await outputOf(model, feeds);
    await apply(quantizeStatic, model, {}, context);
    // Input, first and second convolution: one quantizer each; Pad and Transpose have none.
    assert.equal(operators(model)['QuantizeLinear'], 3);
    assert.ok(cosine(before, await outputOf(model, feeds)) > 0.995);
  });

  it('gives a value inside an If branch its float form', async () => {
    const branch = (name: string, opType: string) =>
      new Graph({
        name,
        nodes: [makeNode(opType, ['c'], [`${name}_y`])],
        outputs: [tensorValue(`${name}_y`, 'float', DIMS)],
      });
    const model = convNet(
      [
        makeNode('If', ['yes'], ['y'], {
          attributes: {
            then_branch: { kind: 'graph', value: branch('a', 'Neg') },
            else_branch: { kind: 'graph', value: branch('b', 'Abs') },
          },
          name: 'if',
        }),
      ],
      'y',
      [Tensor.fromArray('yes', { type: 'bool', dims: [], data: Uint8Array.of(1) })],
    );
    const before = await outputOf(model, feeds);
    await apply(quantizeStatic, model, {}, context);
    verifyModel(model);
    assert.ok(cosine(before, await outputOf(model, feeds)) > 0.995);
  });

  it('keeps the name of a graph output that others read, too', async () => {
    const model = convNet([makeNode('Conv', ['c', 'w'], ['y'], { attributes: { pads }, name: 'conv2' })], 'y');
    model.graph.outputs.push(tensorValue('c', 'float', DIMS));
    await apply(quantizeStatic, model, {}, context);
    verifyModel(model);
    assert.deepEqual(
      model.graph.outputs.map(({ name }) => name),
      ['y', 'c'],
    );
    // The weight is shared by both convolutions: stored once.
    assert.equal(
      [...model.graph.initializers.values()].filter(({ dataType, dims }) => dataType === 'int8' && dims.length === 4)
        .length,
      1,
    );
    await outputOf(model, feeds);
  });
});

describe('choices', () => {
  it('leave excluded nodes in float and refuse a glob that matches nothing', async () => {
    const model = residualNet();
    const { skipped } = await apply(quantizeStatic, model, { exclude: ['conv2', 'Gemm'] }, context);
    assert.deepEqual(
      skipped.filter(({ reason }) => reason.includes('excluded')).map(({ node }) => node),
      ['conv2', 'head'],
    );
    await assert.rejects(
      apply(quantizeStatic, residualNet(), { exclude: ['conv9'] }, context),
      (error) => error instanceof CompressionError && error.code === 'RECIPE_NO_MATCH',
    );
  });

  it('take a range from the recipe', async () => {
    const model = residualNet();
    const { details } = await apply(quantizeStatic, model, { overrides: { x: { min: -2, max: 2 } } }, context);
    const values = details['activations'] as { value: string; min: number; max: number }[];
    assert.deepEqual(
      values.filter(({ value }) => value === 'x').map(({ min, max }) => [min, max]),
      [[-2, 2]],
    );
    await assert.rejects(
      apply(quantizeStatic, residualNet(), { overrides: { nothing: { min: 0, max: 1 } } }, context),
      (error) => error instanceof CompressionError && error.code === 'RECIPE_NO_MATCH',
    );
  });

  it('leave in float what the kernel cost table finds slower, and say so', async () => {
    const table = (conv: number, boundary = 50) => {
      const entries: KernelCost[] = [
        { kernel: 'stem-conv', shape: [4, 36, 64], work: 9216, floatNs: 1000, int8Ns: conv },
        { kernel: 'add', shape: [256], work: 256, floatNs: 100, int8Ns: 100 },
        { kernel: 'matmul', shape: [5, 64, 1], work: 320, floatNs: 100, int8Ns: 100 },
        { kernel: 'max-pool', shape: [64], work: 64, floatNs: 100, int8Ns: 100 },
        { kernel: 'boundary', shape: [256], work: 256, floatNs: 0, int8Ns: boundary },
        { kernel: 'conv-boundary', shape: [256], work: 256, floatNs: 0, int8Ns: boundary },
      ];
      return makeCostTable({ cpuKind: 'test', runtimeVersion: 'test', threads: 1, entries });
    };
    const slow = await apply(quantizeStatic, residualNet(), {}, { ...context, costTable: table(3000) });
    assert.equal(slow.changes, 0);
    const reasonOf = (skipped: typeof slow.skipped) => skipped.find(({ node }) => node.includes('conv'))?.reason ?? '';
    assert.match(reasonOf(slow.skipped), /would not be faster here \(estimated \d.*kernel cost table/);
    // A node that is quicker alone is not said to be slower.
    const cutOff = await apply(quantizeStatic, residualNet(), {}, { ...context, costTable: table(300, 5000) });
    assert.equal(cutOff.changes, 0);
    assert.match(reasonOf(cutOff.skipped), /with the quantizers .* around its region \(estimated for the node alone/);
    const fast = await apply(quantizeStatic, residualNet(), {}, { ...context, costTable: table(300) });
    assert.equal(fast.changes, 4);
    // An accelerator without floating point has no choice.
    const only = await apply(
      quantizeStatic,
      residualNet(),
      {},
      { ...context, targetCpu: 'int8-only', costTable: table(3000) },
    );
    assert.equal(only.changes, 4);
  });

  it('knows that a convolution of few channels takes the time of a filled block in float, and not in int8', async () => {
    const entries = (['add', 'matmul', 'max-pool', 'boundary', 'conv-boundary'] as const).map((kernel): KernelCost => {
      const isBoundary = kernel.endsWith('boundary');
      return { kernel, shape: [256], work: 256, floatNs: isBoundary ? 0 : 10, int8Ns: 10 };
    });
    // Of 16 output channels, where the net has 4: a quarter of the work.
    const conv: KernelCost = { kernel: 'stem-conv', shape: [16, 36, 64], work: 36864, floatNs: 1000, int8Ns: 1600 };
    const parts = { cpuKind: 'test', runtimeVersion: 'test', threads: 1, entries: [conv, ...entries] };
    const changesWith = async (block: { convolutionBlock?: number }): Promise<number> => {
      const costTable = makeCostTable({ ...parts, ...block });
      return (await apply(quantizeStatic, residualNet(), {}, { ...context, costTable })).changes;
    };
    assert.equal(await changesWith({}), 0);
    assert.ok((await changesWith({ convolutionBlock: 16 })) > 0);
  });
});
