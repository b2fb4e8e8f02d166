import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode, type AttributeInit } from '../../../src/onnx/node.ts';
import { countWeightElements } from '../../../src/onnx/print/summarize-model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import { factorizeSvd } from '../../../src/passes/factorize/svd.ts';
import type { FeedSource, Pass, PassContext } from '../../../src/passes/pass.ts';
import { copyModel } from '../../../src/training/copy-model.ts';
import { contextOf, net, noise, operators, outputOf, source, weight } from '../quantize/helpers.ts';

const run = (model: Model, options: object, context: PassContext = contextOf(), pass: Pass = factorizeSvd) =>
  runStep(model, { pass, options: pass.options.parse(options) }, context);

function feedsOf(dims: readonly number[], name = 'x'): Record<string, NdArray> {
  const count = dims.reduce((product, size) => product * size, 1);
  return { [name]: { type: 'float', dims, data: noise(count, 77) } };
}

/** Largest difference, as a share of the largest output. */
function relative(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  a.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - (b[i] ?? 0)));
    size = Math.max(size, Math.abs(value));
  });
  return difference / size;
}

/** A weight that is a product of two random ones: [rows, cols] of the given rank. */
function lowRank(name: string, dims: readonly number[], rank: number): Tensor {
  const [rows = 0, ...rest] = dims;
  const cols = rest.reduce((product, size) => product * size, 1);
  const [a, b] = [noise(rows * rank, 5), noise(rank * cols, 6)];
  const values = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < cols; j += 1) {
      for (let r = 0; r < rank; r += 1) {
        values[i * cols + j] = (values[i * cols + j] ?? 0) + (a[i * rank + r] ?? 0) * (b[r * cols + j] ?? 0);
      }
    }
  }
  return Tensor.float(name, values, dims);
}

/** A weight whose spatial form has the given rank: sum over r of H[m, r, j] V[r, c, i]. */
function separable(name: string, [outputs, inputs, kh, kw]: readonly [number, number, number, number], rank: number) {
  const [h, v] = [noise(outputs * rank * kw, 8), noise(rank * inputs * kh, 9)];
  const values = new Float32Array(outputs * inputs * kh * kw);
  let at = 0;
  for (let m = 0; m < outputs; m += 1) {
    for (let ci = 0; ci < inputs * kh; ci += 1) {
      for (let j = 0; j < kw; j += 1, at += 1) {
        for (let r = 0; r < rank; r += 1) {
          values[at] = (values[at] ?? 0) + (h[(m * rank + r) * kw + j] ?? 0) * (v[r * inputs * kh + ci] ?? 0);
        }
      }
    }
  }
  return Tensor.float(name, values, [outputs, inputs, kh, kw]);
}

/** Squared singular values of `spectral`: 64, 80, 88, 93, 96, 98, 99 and 100 % of the energy with one more each. */
const SQUARES = [64, 16, 8, 5, 3, 2, 1, 1];

/** A 1x1 filter with these as its first squared singular values; its singular vectors are rows of Hadamard matrices. */
function spectral([outputs, inputs]: readonly [16 | 8, 16 | 8], squares: readonly number[] = SQUARES): Tensor {
  const sign = (i: number, j: number): number => ((i & j).toString(2).replaceAll('0', '').length % 2 === 0 ? 1 : -1);
  const values = Float32Array.from({ length: outputs * inputs }, (_, at) => {
    const [row, column] = [Math.floor(at / inputs), at % inputs];
    const sum = squares.reduce((total, square, i) => total + Math.sqrt(square) * sign(i, row) * sign(i, column), 0);
    return sum / Math.sqrt(outputs * inputs);
  });
  return Tensor.float('w', values, [outputs, inputs, 1, 1]);
}

function conv(tensor: Tensor, attributes: Record<string, AttributeInit>, shape: readonly number[], bias = true): Model {
  const outputs = tensor.dims[0] ?? 0;
  return net({
    nodes: [makeNode('Conv', bias ? ['x', 'w', 'b'] : ['x', 'w'], ['y'], { attributes, name: 'conv' })],
    tensors: bias ? [tensor, weight('b', [outputs], 3)] : [tensor],
    inputs: { x: shape },
    outputs: { y: ['n', outputs, 'h', 'w'] },
  });
}

describe('factorize.svd', () => {
  const windows: [string, Record<string, AttributeInit>][] = [
    ['plain', { pads: [1, 1, 1, 1] }],
    ['strides, uneven pads, dilations', { pads: [0, 2, 1, 3], strides: [2, 3], dilations: [1, 2] }],
    ['SAME_UPPER', { auto_pad: 'SAME_UPPER', strides: [2, 2] }],
  ];
  for (const [name, attributes] of windows) {
    for (const form of ['channel', 'spatial'] as const) {
      for (const data of [false, true]) {
        it(`${form}, ${name}, ${data ? 'with' : 'without'} data: a weight of low rank is written exactly`, async () => {
          const shape = [1, 8, 11, 13];
          const tensor = form === 'channel' ? lowRank('w', [12, 8, 3, 3], 4) : separable('w', [12, 8, 3, 3], 4);
          const model = conv(tensor, attributes, shape);
          const before = await outputOf(model, feedsOf(shape));
          const context = data ? contextOf(source('x', shape)) : contextOf();
          const { changes, details } = await run(model, { rank: 4, conv: form }, context);
          assert.equal(changes, 1);
          assert.equal(details['usedCalibration'], data);
          assert.deepEqual(operators(model), { Conv: 2 });
          const kernels = model.graph.nodes.map(({ inputs }) => model.graph.initializers.get(inputs[1] ?? '')?.dims);
          assert.deepEqual(
            kernels,
            form === 'channel'
              ? [
                  [4, 8, 3, 3],
                  [12, 4, 1, 1],
                ]
              : [
                  [4, 8, 3, 1],
                  [12, 4, 1, 3],
                ],
          );
          // float32 weights and sums of 72 products.
          assert.ok(relative(before, await outputOf(model, feedsOf(shape))) < 1e-4);
        });
      }
    }
  }

  for (const [outputs, inputs] of [
    [16, 8],
    [8, 16],
  ] as const) {
    it(`a 1x1 convolution of ${inputs} to ${outputs} channels becomes two, with its largest singular values`, async () => {
      const shape = [1, inputs, 5, 7];
      const attributes = { strides: [2, 3] };
      const model = conv(spectral([outputs, inputs]), attributes, shape);
      const parameters = countWeightElements(model);
      const { changes, details } = await run(model, { rank: 4 });
      assert.equal(changes, 1);
      const truncated = conv(spectral([outputs, inputs], SQUARES.slice(0, 4)), attributes, shape);
      const expected = await outputOf(truncated, feedsOf(shape));
      // float32 sums of 16 products at most.
      const difference = relative(expected, await outputOf(model, feedsOf(shape)));
      assert.ok(difference < 1e-5, `relative difference ${difference}`);
      const kernels = model.graph.nodes.map(({ inputs: [, w = ''] }) => model.graph.initializers.get(w)?.dims);
      assert.deepEqual(kernels, [
        [4, inputs, 1, 1],
        [outputs, 4, 1, 1],
      ]);
      assert.equal(countWeightElements(model), parameters - 16 * 8 + 4 * (16 + 8));
      const [{ error, ...layer } = { error: NaN }] = details['layers'] as { error: number }[];
      // What the other four have of the energy.
      assert.ok(Math.abs(error - 0.07) < 1e-6, String(error));
      assert.deepEqual(layer, {
        node: 'conv',
        form: 'channel',
        kernel: '1x1',
        rank: 4,
        fullRank: 8,
        errorOf: 'weights',
        parameters: { before: 128, after: 96 },
        macs: { before: 9 * 128, after: 9 * 96 },
      });
    });
  }

  for (const [energy, rank] of [
    [0.639, 1],
    [0.641, 2],
    [0.799, 2],
    [0.801, 3],
    [0.879, 3],
    [undefined, 4],
    [0.929, 4],
    [0.931, 5],
    [0.959, 5],
  ] as const) {
    it(`energy ${energy ?? 'by default, 0.9'}: rank ${rank} is the smallest that keeps it`, async () => {
      const { details } = await run(conv(spectral([16, 8]), {}, [1, 8, 5, 7]), { energy });
      assert.deepEqual(
        (details['layers'] as { rank: number }[]).map((layer) => layer.rank),
        [rank],
      );
    });
  }

  it('energy that only a rank without gain keeps: the layer stays, and the rank is named', async () => {
    const { changes, skipped } = await run(conv(spectral([16, 8]), {}, [1, 8, 5, 7]), { energy: 0.961 });
    assert.equal(changes, 0);
    assert.match(skipped[0]?.reason ?? '', /^0\.961 of the energy needs rank 6 of 8, which saves nothing: 144 /);
  });

  for (const kind of ['Gemm', 'Gemm, not transposed', 'MatMul']) {
    for (const data of [false, true]) {
      it(`${kind}, ${data ? 'with' : 'without'} data: a weight of low rank is written exactly`, async () => {
        const isTransposed = kind === 'Gemm';
        const tensor = lowRank('w', isTransposed ? [20, 16] : [16, 20], 3);
        const attributes: Record<string, AttributeInit> = isTransposed ? { transB: 1, alpha: 0.5 } : {};
        const node =
          kind === 'MatMul'
            ? makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' })
            : makeNode('Gemm', ['x', 'w', 'b'], ['y'], { attributes, name: 'product' });
        const shape = kind === 'MatMul' ? [2, 5, 16] : [4, 16];
        const model = net({
          nodes: [node],
          tensors: [tensor, ...(kind === 'MatMul' ? [] : [weight('b', [20], 4)])],
          inputs: { x: shape },
          outputs: { y: [...shape.slice(0, -1), 20] },
        });
        const before = await outputOf(model, feedsOf(shape));
        const { changes } = await run(model, { rank: 3 }, data ? contextOf(source('x', shape)) : contextOf());
        assert.equal(changes, 1);
        assert.ok(relative(before, await outputOf(model, feedsOf(shape))) < 1e-4);
      });
    }
  }

  it('loses in the outputs what the report says, and less with data than without', async () => {
    const shape = [1, 8, 9, 9];
    // Channels of very different size: the weights alone do not show which ones matter.
    const uneven: FeedSource = {
      samples: 8,
      async *batches() {
        for (let sample = 0; sample < 8; sample += 1) {
          const data = noise(648, 300 + sample).map((value, i) => value * 4 ** -(Math.floor(i / 81) % 8) + 0.2);
          yield await Promise.resolve({ feeds: { x: { type: 'float' as const, dims: shape, data } }, count: 1 });
        }
      },
    };
    const errorOf = async (options: object): Promise<number> => {
      const model = () => conv(weight('w', [12, 8, 3, 3], 1), {}, shape);
      const factored = model();
      const result = await run(factored, { rank: 3, ...options }, contextOf(uneven));
      let [error, energy] = [0, 0];
      for await (const { feeds } of uneven.batches()) {
        const [a, b] = [await outputOf(model(), feeds), await outputOf(factored, feeds)];
        a.forEach((value, i) => (error += (value - (b[i] ?? 0)) ** 2));
        for (let m = 0; m < 12; m += 1) {
          const channel = a.subarray(m * 49, (m + 1) * 49);
          const mean = channel.reduce((sum, value) => sum + value, 0) / 49;
          channel.forEach((value) => (energy += (value - mean) ** 2));
        }
      }
      const [layer] = result.details['layers'] as { error: number; errorOf: string }[];
      // The report's denominator is the variance over all samples, this one's is within each: equal to a few percent here.
      if (layer?.errorOf === 'outputs') assert.ok(Math.abs(error / energy / layer.error - 1) < 0.2);
      return error / energy;
    };
    for (const form of ['channel', 'spatial']) {
      const withData = await errorOf({ conv: form });
      const without = await errorOf({ conv: form, dataAware: false });
      assert.ok(withData < 0.5 * without, `${form}: ${withData} against ${without}`);
    }
  });

  it('meets macsRatio, as counted from the result, and no more than needed', async () => {
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'w1'], ['c1'], { attributes: { pads: [1, 1, 1, 1] }, name: 'conv1' }),
        makeNode('Relu', ['c1'], ['r1']),
        makeNode('Conv', ['r1', 'w2'], ['c2'], { attributes: { strides: [2, 2] }, name: 'conv2' }),
        makeNode('Relu', ['c2'], ['y']),
      ],
      tensors: [weight('w1', [16, 8, 3, 3], 1), weight('w2', [24, 16, 3, 3], 2)],
      inputs: { x: [1, 8, 12, 12] },
      outputs: { y: [1, 24, 5, 5] },
    });
    const before = macsOf(model).total;
    const { details } = await run(model, { macsRatio: 0.6 });
    const after = macsOf(model).total;
    assert.deepEqual(details['macs'], { before, after });
    assert.ok(after <= 0.6 * before && after > 0.5 * before, String(after / before));
  });

  it('names the least that can be reached when macsRatio asks for too much', async () => {
    const model = conv(weight('w', [12, 8, 3, 3]), {}, [1, 8, 9, 9]);
    const bytes = encodeModel(model);
    await assert.rejects(run(model, { macsRatio: 0.01 }), (error: Error) => {
      assert.match(error.message, /macsRatio 0\.010 is out of reach: with rank 1 .* 0\.0[0-9]+ of the multiply-accum/);
      return (error as { code?: string }).code === 'PASS_PRECONDITION';
    });
    assert.deepEqual(encodeModel(model), bytes);
  });

  it('leaves alone what gains nothing or has no rank, and says why', async () => {
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'dw'], ['a'], { attributes: { group: 8 }, name: 'depthwise' }),
        makeNode('Relu', ['a'], ['b']),
        makeNode('Conv', ['b', 'g'], ['c'], { attributes: { group: 2 }, name: 'grouped' }),
        makeNode('Relu', ['c'], ['d']),
        makeNode('Conv', ['d', 'full'], ['e'], { name: 'full' }),
        makeNode('Relu', ['e'], ['f']),
        makeNode('Conv', ['f', 'zeros'], ['y'], { name: 'zeros' }),
      ],
      tensors: [
        weight('dw', [8, 1, 3, 3]),
        weight('g', [8, 4, 1, 1]),
        weight('full', [8, 8, 1, 1]),
        Tensor.float('zeros', new Float32Array(64), [8, 8, 1, 1]),
      ],
      inputs: { x: [1, 8, 9, 9] },
      outputs: { y: [1, 8, 7, 7] },
    });
    const bytes = encodeModel(model);
    const { changes, skipped } = await run(model, { energy: 0.999 });
    assert.equal(changes, 0);
    assert.deepEqual(encodeModel(model), bytes);
    const reasons = new Map(skipped.map(({ node, reason }) => [node, reason]));
    assert.match(reasons.get('depthwise') ?? '', /^depthwise/);
    assert.match(reasons.get('grouped') ?? '', /^grouped/);
    assert.match(reasons.get('zeros') ?? '', /all zeros/);
    assert.match(reasons.get('full') ?? '', /needs rank \d of 8, which saves nothing/);
  });

  it('keeps a weight that two nodes share', async () => {
    const model = net({
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['a'], { name: 'one' }),
        makeNode('Relu', ['a'], ['b']),
        makeNode('MatMul', ['b', 'w'], ['y'], { name: 'two' }),
      ],
      tensors: [lowRank('w', [16, 16], 2)],
      inputs: { x: [2, 16] },
      outputs: { y: [2, 16] },
    });
    const { changes, skipped } = await run(model, { rank: 2 });
    assert.equal(changes, 0);
    assert.equal(skipped.filter(({ reason }) => reason.includes('shared')).length, 2);
  });

  it('takes a rank for each layer by its name, the first glob that matches; null and the others stay', async () => {
    const model = net({
      nodes: [
        makeNode('MatMul', ['x', 'w1'], ['a'], { name: 'one' }),
        makeNode('Relu', ['a'], ['b']),
        makeNode('MatMul', ['b', 'w2'], ['c'], { name: 'two' }),
        makeNode('Relu', ['c'], ['d']),
        makeNode('MatMul', ['d', 'w3'], ['e'], { name: 'three' }),
        makeNode('Relu', ['e'], ['f']),
        makeNode('MatMul', ['f', 'w4'], ['y'], { name: 'four' }),
      ],
      tensors: ['w1', 'w2', 'w3', 'w4'].map((name) => weight(name, [16, 16])),
      inputs: { x: [2, 16] },
      outputs: { y: [2, 16] },
    });
    const ranks = { one: 3, 't*e': null, 't*': 0.25 };
    const { changes, skipped, details } = await run(copyModel(model), { ranks });
    assert.equal(changes, 2);
    const layers = details['layers'] as { node: string; rank: number }[];
    assert.deepEqual(
      layers.map(({ node, rank }) => [node, rank]),
      [
        ['one', 3],
        ['two', 4],
      ],
    );
    assert.deepEqual(skipped, [
      { node: 'three', reason: 'ranks leaves it as it is' },
      { node: 'four', reason: 'ranks leaves it as it is' },
    ]);
    await assert.rejects(run(copyModel(model), { ranks: { five: 3 } }), {
      code: 'RECIPE_NO_MATCH',
      message: /one, two/,
    });
    assert.equal(factorizeSvd.options.safeParse({ ranks, energy: 0.5 }).success, false);
    assert.equal(factorizeSvd.options.safeParse({ ranks: { one: 1.5 } }).success, false);
  });

  it('refuses two rules at once, data that are not there, and a filter that matches nothing', async () => {
    assert.equal(factorizeSvd.options.safeParse({ rank: 2, energy: 0.5 }).success, false);
    assert.equal(factorizeSvd.options.safeParse({ rank: 1.5 }).success, false);
    const model = conv(weight('w', [12, 8, 3, 3]), {}, [1, 8, 9, 9]);
    await assert.rejects(run(model, { dataAware: true }), { code: 'PASS_PRECONDITION' });
    await assert.rejects(run(model, { include: ['nothing*'] }), { code: 'RECIPE_NO_MATCH' });
  });

  it('stops when it is canceled', async () => {
    const controller = new AbortController();
    controller.abort();
    const model = conv(weight('w', [12, 8, 3, 3]), {}, [1, 8, 9, 9]);
    await assert.rejects(run(model, { rank: 2 }, contextOf(undefined, { signal: controller.signal })), {
      name: 'AbortError',
    });
  });

  it('gives the same bytes twice', async () => {
    const [a, b] = [0, 1].map(() => conv(weight('w', [12, 8, 3, 3]), {}, [1, 8, 9, 9]));
    if (a === undefined || b === undefined) throw new Error('unreachable');
    for (const model of [a, b]) await run(model, { rank: 2 }, contextOf(source('x', [1, 8, 9, 9])));
    assert.deepEqual(encodeModel(a), encodeModel(b));
  });
});
