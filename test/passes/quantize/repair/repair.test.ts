import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { quantizeStatic } from '../../../../src/passes/quantize/static.ts';
import { canSaturatePairs, limitPairs } from '../../../../src/passes/quantize/weights.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { apply, contextOf, net, noise, outputOf, source, weight } from '../helpers.ts';

const DIMS = [1, 4, 8, 8];
const context = contextOf(source('x', DIMS));
const pads = [1, 1, 1, 1];

/** Convolution, grouped, depthwise, product: each kind of layer, one of them without a bias. */
function mixedNet(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads }, name: 'conv' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { attributes: { pads, group: 2 }, name: 'grouped' }),
      makeNode('Relu', ['c2'], ['r2'], { name: 'relu2' }),
      makeNode('Conv', ['r2', 'w3', 'b3'], ['c3'], {
        attributes: { pads, group: 8, strides: [2, 2] },
        name: 'depthwise',
      }),
      makeNode('Clip', ['c3', 'low', 'high'], ['r3'], { name: 'clip' }),
      makeNode('Flatten', ['r3'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w4', 'b4'], ['g'], { attributes: { alpha: 0.5 }, name: 'gemm' }),
      makeNode('Relu', ['g'], ['r4'], { name: 'relu4' }),
      makeNode('MatMul', ['r4', 'w5'], ['y'], { name: 'product' }),
    ],
    tensors: [
      weight('w1', [8, 4, 3, 3], 1),
      weight('b1', [8], 2),
      weight('w2', [8, 4, 3, 3], 3),
      weight('w3', [8, 1, 3, 3], 4),
      weight('b3', [8], 5),
      Tensor.float('low', [0], []),
      Tensor.float('high', [6], []),
      weight('w4', [128, 12], 6),
      weight('b4', [12], 7),
      weight('w5', [12, 5], 8),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 5] },
  });
}

/** Squared error of the outputs on the calibration data, and the mean error of each. */
async function errorsOf(
  model: Model,
  options: object,
): Promise<{ square: number; mean: number; details: Record<string, unknown> }> {
  const quantized = copyModel(model);
  const { details } = await apply(quantizeStatic, quantized, options, context);
  verifyModel(quantized);
  const means = new Float64Array(4096);
  let square = 0;
  for await (const { feeds } of source('x', DIMS).batches()) {
    const [expected, actual] = [await outputOf(model, feeds), await outputOf(quantized, feeds)];
    expected.forEach((value, i) => {
      square += (actual[i]! - value) ** 2;
      means[i]! += (actual[i]! - value) / 8;
    });
  }
  return { square, mean: Math.hypot(...means), details };
}

interface Repaired {
  readonly node: string;
  readonly learnedShare?: number;
  readonly biasShift?: number;
}

describe('learned rounding', () => {
  for (const options of [{ rounding: 'gptq' }, { rounding: 'adaround', iterations: 400 }]) {
    it(`keeps the output nearer than rounding to nearest (${options.rounding}), in every kind of layer`, async () => {
      const made = { conv: 'c1', grouped: 'c2', depthwise: 'c3', gemm: 'g', product: 'y' };
      for (const [node, output] of Object.entries(made)) {
        const model = mixedNet();
        model.graph.outputs = [{ name: output }];
        const only = { weights: 'int4', include: [node] };
        const nearest = await errorsOf(model, only);
        const learned = await errorsOf(model, { ...only, ...options });
        const [layer] = learned.details['repaired'] as Repaired[];
        assert.ok(layer?.learnedShare !== undefined && layer.learnedShare < 0.6, node);
        // White noise as input, nine weights a channel, eight rows of data: there hardly any error can move onto other weights.
        const limit = node === 'grouped' || node === 'gemm' ? 0.9 : 1;
        assert.ok(learned.square <= limit * nearest.square, `${node}: ${learned.square} ${nearest.square}`);
      }
    });

    it(`gives the same bytes for the same seed (${options.rounding})`, async () => {
      const models = [mixedNet(), mixedNet()];
      for (const model of models)
        await apply(quantizeStatic, model, { weights: 'int4', ...options, iterations: 100 }, context);
      assert.deepEqual(encodeModel(models[0]!), encodeModel(models[1]!));
    });
  }

  it('leaves layers that share a weight to the nearest codes, and says so', async () => {
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'w'], ['a'], { attributes: { pads }, name: 'one' }),
        makeNode('Conv', ['a', 'w'], ['y'], { attributes: { pads }, name: 'two' }),
      ],
      tensors: [weight('w', [4, 4, 3, 3], 1)],
      inputs: { x: DIMS },
      outputs: { y: DIMS },
    });
    const { skipped } = await apply(quantizeStatic, model, { weights: 'int4', rounding: 'gptq' }, context);
    assert.deepEqual(
      skipped.filter(({ reason }) => reason.includes('several layers share')).map(({ node }) => node),
      ['one', 'two'],
    );
  });

  it('leaves a layer with too many inputs for gptq to the nearest codes, and says so', async () => {
    const wide = net({
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], { name: 'wide' })],
      tensors: [weight('w', [5000, 2], 1)],
      inputs: { x: [1, 5000] },
      outputs: { y: [1, 2] },
    });
    const { skipped } = await apply(quantizeStatic, wide, { rounding: 'gptq' }, contextOf(source('x', [1, 5000])));
    assert.match(skipped.find(({ node }) => node === 'wide')!.reason, /5000 weights a channel are too many/);
  });

  it('keeps int8 weights pair-safe for portable targets', async () => {
    const { details } = await errorsOf(mixedNet(), { rounding: 'gptq' });
    assert.deepEqual((details['saturationRisk'] as { nodes: string[] }).nodes, []);
    const codes = Int8Array.from(noise(400, 9).map((value) => value * 127));
    const layout = { outer: 1, channels: 4, inner: 100 };
    const before = Int8Array.from(codes);
    assert.ok(canSaturatePairs(codes, layout));
    limitPairs(codes, layout);
    assert.ok(!canSaturatePairs(codes, layout));
    // The largest of each channel stays, and nothing grows.
    codes.forEach((code, i) => assert.ok(Math.abs(code) <= Math.abs(before[i]!)));
    for (let c = 0; c < 4; c += 1) {
      const largest = (values: Int8Array): number => Math.max(...values.subarray(c * 100, c * 100 + 100));
      assert.equal(largest(codes), largest(before));
    }
  });

  it('refuses adaround with bias correction', () => {
    const options = quantizeStatic.options.parse({ rounding: 'adaround', biasCorrection: 'fast' });
    assert.match(quantizeStatic.requires(mixedNet(), options) ?? '', /correct it twice/);
  });
});

describe('bias correction', () => {
  for (const biasCorrection of ['fast', 'full']) {
    it(`takes the mean error away (${biasCorrection}), also where a layer had no bias or one with zeros`, async () => {
      const model = mixedNet();
      // A bias with zeros: a relative guard would divide by them.
      model.graph.initializers.set('b1', Tensor.float('b1', [0, 0.1, 0, 0.2, 0, 0, -0.1, 0]));
      model.graph.outputs = [{ name: 'g' }];
      const plain = await errorsOf(model, { weights: 'int2' });
      const corrected = await errorsOf(model, { weights: 'int2', biasCorrection });
      assert.ok(corrected.mean < 0.5 * plain.mean, `${corrected.mean} ${plain.mean}`);
      const layers = corrected.details['repaired'] as Repaired[];
      assert.deepEqual(
        layers.map(({ node }) => node),
        biasCorrection === 'fast'
          ? ['conv', 'grouped', 'depthwise', 'gemm']
          : ['conv', 'grouped', 'depthwise', 'gemm', 'product'],
      );
      assert.ok(layers.slice(0, 4).every(({ biasShift = 0 }) => biasShift > 0 && biasShift < 0.5));
    });
  }

  it('full: makes the mean of each layer right on what the layers before give', async () => {
    const model = mixedNet();
    model.graph.outputs = [{ name: 'g' }];
    const { mean } = await errorsOf(model, { weights: 'int4', biasCorrection: 'full', exclude: ['product'] });
    const plain = await errorsOf(model, { weights: 'int4', exclude: ['product'] });
    // What is left: the bias is rounded to s_x * s_w, and g itself to 8 bits.
    assert.ok(mean < 0.1 * plain.mean, `${mean} ${plain.mean}`);
  });
});
