import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import type { FeedSource } from '../../../../src/passes/pass.ts';
import { quantizeStatic } from '../../../../src/passes/quantize/static.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { apply, contextOf, net, noise, outputOf, weight } from '../helpers.ts';

const DIMS = [4, 3, 6, 6] as const;
const SIZE = 4 * 3 * 6 * 6;

/** The first channel is much larger than the others. */
function batch(seed: number): NdArray {
  const data = noise(SIZE, seed).map((value, i) => (Math.floor(i / 36) % 3 === 0 ? 6 : 1) * value);
  return { type: 'float', dims: DIMS, data };
}

const SEEDS = [11, 12, 13, 14, 15, 16];
const calibration: FeedSource = {
  samples: SEEDS.length * DIMS[0],
  async *batches() {
    for (const seed of SEEDS) yield await Promise.resolve({ feeds: { x: batch(seed) }, count: DIMS[0] });
  },
};

/** Whose first layer hardly reads the first channel: what is worth a wide range as a tensor is worth none at the output. */
function unequal({ softmax = false } = {}): Model {
  const first = weight('w1', [8, 3, 3, 3], 1);
  const filters = first.floats().map((value, i) => (Math.floor(i / 9) % 3 === 0 ? 1e-3 : 1) * value);
  const pads = [1, 1, 1, 1];
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads }, name: 'conv1' }),
      makeNode('Clip', ['c1', 'low', 'high'], ['r1'], { name: 'clip' }),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { attributes: { pads }, name: 'conv2' }),
      makeNode('Relu', ['c2'], ['r2'], { name: 'relu' }),
      makeNode('Flatten', ['r2'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3'], [softmax ? 'logits' : 'y'], { attributes: { transB: 1 }, name: 'head' }),
      ...(softmax ? [makeNode('Softmax', ['logits'], ['y'], { name: 'softmax' })] : []),
    ],
    tensors: [
      Tensor.float('w1', filters, [8, 3, 3, 3]),
      weight('b1', [8], 2),
      weight('w2', [8, 8, 3, 3], 3),
      weight('w3', [5, 288], 5),
      Tensor.float('low', [-1], []),
      Tensor.float('high', [1], []),
    ],
    inputs: { x: DIMS },
    outputs: { y: [4, 5] },
  });
}

/** What the report calls error, from the files alone. */
async function errorOf(quantized: Model, float: Model): Promise<number> {
  let sum = 0;
  for (const seed of SEEDS) {
    const [made, wanted] = [await outputOf(quantized, { x: batch(seed) }), await outputOf(float, { x: batch(seed) })];
    let [error, signal] = [0, 0];
    wanted.forEach((value, i) => {
      error += ((made[i] ?? 0) - value) ** 2;
      signal += value ** 2;
    });
    sum += error / signal;
  }
  return sum / SEEDS.length;
}

async function quantized(options: object, model = unequal()): Promise<{ model: Model; details: Details }> {
  const { details } = await apply(quantizeStatic, model, options, contextOf(calibration));
  return { model, details: details as unknown as Details };
}

interface Details {
  readonly learnedRanges: { quantizers: number; iterations: number; errorBefore: number; errorAfter: number };
  readonly activations: readonly { readonly value: string; readonly scale: number }[];
}

describe('quantize.static, method learned', () => {
  it('brings the outputs nearer than the ranges it begins with, by what the report says', async () => {
    const float = unequal();
    const mse = await quantized({ method: 'mse' });
    const { model, details } = await quantized({ method: 'learned' });
    verifyModel(model);
    const [before, after] = [await errorOf(mse.model, float), await errorOf(model, float)];
    const { errorBefore, errorAfter, iterations, quantizers } = details.learnedRanges;
    assert.deepEqual([iterations, quantizers], [300, details.activations.length]);
    // The artifact rounds its biases anew for the learned scales.
    for (const [said, seen] of [
      [errorBefore, before],
      [errorAfter, after],
    ] as const) {
      assert.ok(Math.abs(said / seen - 1) < 0.05, `the report says ${said}, the file has ${seen}`);
    }
    assert.ok(after < 0.7 * before, `${after} of ${before}`);
    const minmax = await errorOf((await quantized({ method: 'minmax' })).model, float);
    assert.ok(after < minmax, `${after}, and ${minmax} with minmax`);
  });

  it('gives the same bytes for the same request', async () => {
    const [first, second] = [await quantized({ method: 'learned' }), await quantized({ method: 'learned' })];
    assert.deepEqual(encodeModel(first.model), encodeModel(second.model));
  });

  it('leaves ranges alone that the recipe or the operator gives, and compares what goes into a last Softmax', async () => {
    const overrides = { r1: { min: -0.9, max: 0.9 } };
    const { details } = await quantized({ method: 'learned', overrides }, unequal({ softmax: true }));
    const scales = new Map(details.activations.map(({ value, scale }) => [value, scale]));
    assert.equal(scales.get('r1'), Math.fround(1.8 / 255));
    assert.equal(scales.get('y'), 1 / 256);
    assert.ok(details.learnedRanges.errorAfter < details.learnedRanges.errorBefore);
    const all = new Set(scales.values()).size;
    assert.ok(details.learnedRanges.quantizers <= all - 2, `${details.learnedRanges.quantizers} of ${all}`);
  });

  it('stops when it is canceled, and refuses powers of two', async () => {
    const model = unequal();
    const cancel = new AbortController();
    const context = contextOf(
      { ...calibration, batches: () => (cancel.abort(), calibration.batches()) },
      { signal: cancel.signal },
    );
    await assert.rejects(
      async () => quantizeStatic.run(copyModel(model), quantizeStatic.options.parse({ method: 'learned' }), context),
      { name: 'AbortError' },
    );
    const both = quantizeStatic.options.parse({ method: 'learned', powerOfTwoScales: true });
    assert.match(quantizeStatic.requires(model, both) ?? '', /no powers of two/);
  });
});
