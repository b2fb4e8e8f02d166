import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { calibrate } from '../../src/passes/calibrate.ts';
import type { ObservationPoint } from '../../src/passes/observe.ts';
import type { FeedSource } from '../../src/passes/pass.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { contextOf, net, noise } from './quantize/helpers.ts';

const context = contextOf();
const model = () =>
  net({
    nodes: [makeNode('Mul', ['x', 'two'], ['m']), makeNode('Relu', ['m'], ['y'])],
    tensors: [Tensor.float('two', [2], [])],
    inputs: { x: ['batch', 3] },
    outputs: { y: ['batch', 3] },
  });

/** Rows of three, in batches as asked for; remembers the sizes it gave. */
function rows(values: Float32Array, sizes: number[] = []): FeedSource {
  const samples = values.length / 3;
  return {
    samples,
    async *batches(batchSize = 4) {
      for (let from = 0; from < samples; from += batchSize) {
        const count = Math.min(batchSize, samples - from);
        sizes.push(count);
        const data = values.slice(3 * from, 3 * (from + count));
        yield await Promise.resolve({ feeds: { x: { type: 'float', dims: [count, 3], data } as const }, count });
      }
    },
  };
}

describe('calibrate', () => {
  const values = noise(3 * 40, 9);
  const minmax = (tensor: string): ObservationPoint => ({ tensor, statistic: { kind: 'minmax' } });

  it('finds the extremes of inputs, inner values and outputs over all batches', async () => {
    const points = ['x', 'm', 'y'].map(minmax);
    const observations = await calibrate(model(), points, rows(values), context);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    assert.equal(observations.samples, 40);
    assert.deepEqual(
      points.map((point) => observations.get(point)),
      [
        { kind: 'range', min: low, max: high },
        { kind: 'range', min: 2 * low, max: 2 * high },
        { kind: 'range', min: 0, max: 2 * high },
      ],
    );
  });

  it('gives the same histogram however the data is cut, and means of channels', async () => {
    const histogram: ObservationPoint = { tensor: 'm', statistic: { kind: 'histogram', bins: 64 } };
    const mean: ObservationPoint = { tensor: 'x', statistic: { kind: 'channel-mean', axis: 1 } };
    const whole = await calibrate(model(), [histogram, mean], rows(values), context);
    const fixed: FeedSource = { samples: 40, batches: () => rows(values).batches(1) };
    const single = await calibrate(model(), [histogram, mean], fixed, context);
    assert.deepEqual(single.get(histogram), whole.get(histogram));
    const found = whole.get(mean);
    const expected = [0, 1, 2].map(
      (channel) => values.filter((_, i) => i % 3 === channel).reduce((a, b) => a + b, 0) / 40,
    );
    assert.ok(found?.kind === 'channel-mean');
    // Sums of 40 float32 values in float64.
    expected.forEach((value, channel) => assert.ok(Math.abs(value - found.mean[channel]!) < 1e-6));
  });

  it('streams: no batch is larger than the bound, whatever the number of samples', async () => {
    const sizes: number[] = [];
    await calibrate(model(), [minmax('m')], rows(noise(3 * 400), sizes), context);
    assert.ok(Math.max(...sizes) <= 16);
  });

  it('leaves the model as it is', async () => {
    const observed = model();
    const bytes = encodeModel(observed);
    await calibrate(observed, [minmax('m')], rows(values), context);
    assert.deepEqual(encodeModel(observed), bytes);
  });

  it('refuses values that are not finite, and an empty data set', async () => {
    const code = (expected: string) => (error: unknown) => error instanceof CompressionError && error.code === expected;
    const broken = rows(Float32Array.of(1, Infinity, 2));
    await assert.rejects(calibrate(model(), [minmax('m')], broken, context), code('MODEL_RUN'));
    await assert.rejects(calibrate(model(), [minmax('m')], rows(new Float32Array(0)), context), code('DATASET_EMPTY'));
  });
});
