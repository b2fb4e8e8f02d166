import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import { defined } from '../../../src/errors.ts';
import { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { differentiate } from '../../../src/training/differentiate.ts';
import { StaticTypes } from '../../../src/training/static-types.ts';
import { adderLayer } from '../../../src/zoo/adder2d.ts';
import { NetworkBuilder } from '../../../src/zoo/network-builder.ts';
import { seededWeights } from '../../../src/zoo/weights.ts';
import { randomArray, runtime } from './check-gradient.ts';

interface Layer {
  readonly batch: number;
  readonly channels: number;
  readonly size: readonly [height: number, width: number];
  readonly maps: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

const LAYERS: readonly Layer[] = [
  { batch: 2, channels: 3, size: [6, 5], maps: 4, kernel: 3, stride: 1, padding: 1 },
  { batch: 2, channels: 4, size: [8, 7], maps: 3, kernel: 3, stride: 2, padding: 1 },
  { batch: 3, channels: 5, size: [4, 6], maps: 2, kernel: 1, stride: 2, padding: 0 },
  { batch: 2, channels: 4, size: [5, 5], maps: 6, kernel: 1, stride: 1, padding: 0 },
  { batch: 1, channels: 1, size: [9, 8], maps: 1, kernel: 5, stride: 3, padding: 2 },
  { batch: 1, channels: 2, size: [6, 6], maps: 3, kernel: 2, stride: 1, padding: 0 },
  // 40 channels of 9 taps for 32 filters on 100 places: more than one tile.
  { batch: 1, channels: 40, size: [10, 10], maps: 32, kernel: 3, stride: 1, padding: 1 },
];

type Numbers = Readonly<Float32Array>;

/** Equations 5 and 6 of the paper as loops, in double precision. */
function reference(layer: Layer, x: Numbers, w: Numbers, dY: Numbers): { dX: Float64Array; dW: Float64Array } {
  const { batch, channels, maps, kernel, stride, padding } = layer;
  const [height, width] = layer.size;
  const outHeight = Math.floor((height + 2 * padding - kernel) / stride) + 1;
  const outWidth = Math.floor((width + 2 * padding - kernel) / stride) + 1;
  const [dX, dW] = [new Float64Array(x.length), new Float64Array(w.length)];
  for (let n = 0; n < batch; n += 1)
    for (let m = 0; m < maps; m += 1)
      for (let place = 0; place < outHeight * outWidth; place += 1) {
        const g = dY[(n * maps + m) * outHeight * outWidth + place] ?? 0;
        const top = Math.floor(place / outWidth) * stride - padding;
        const left = (place % outWidth) * stride - padding;
        for (let element = 0; element < channels * kernel * kernel; element += 1) {
          const c = Math.floor(element / (kernel * kernel));
          const row = top + (Math.floor(element / kernel) % kernel);
          const column = left + (element % kernel);
          const isInside = row >= 0 && row < height && column >= 0 && column < width;
          const at = ((n * channels + c) * height + row) * width + column;
          const filter = m * channels * kernel * kernel + element;
          const difference = (isInside ? (x[at] ?? NaN) : 0) - (w[filter] ?? NaN);
          dW[filter] = (dW[filter] ?? NaN) + difference * g;
          if (isInside) dX[at] = (dX[at] ?? NaN) - Math.min(1, Math.max(-1, difference)) * g;
        }
      }
  return { dX, dW };
}

function adderModel({ channels, size, maps, kernel, stride, padding }: Layer): Model {
  const network = new NetworkBuilder('adder', seededWeights(4));
  const options = { channels: maps, kernel, stride, padding };
  return network.finish(adderLayer(network, 'layer', network.input(channels, ...size), options));
}

describe('gradients of the adder layer', () => {
  for (const layer of LAYERS) {
    it(`are those of the paper: ${JSON.stringify(layer)}`, async () => {
      const model = adderModel(layer);
      const w = defined(model.graph.initializers.get('layer.weight'), 'the filters').floats();
      const types = new StaticTypes(model, { symbols: { batch: layer.batch } });
      const b = new GraphBuilder(model.graph);
      const y = types.shape('logits');
      const seed = b.input('v', 'float', y);
      const gradients = differentiate(b, {
        loss: [{ of: 'logits', gradient: seed }],
        wrt: ['input', 'layer.weight'],
        types,
      });
      const [dX, dW] = ['input', 'layer.weight'].map((of) => {
        const name = defined(gradients.get(of), of);
        b.output(name, `grad_${of}`, 'float', types.shape(of));
        return `grad_${of}`;
      });
      model.opsetImports.set('com.microsoft', 1);
      verifyModel(model);

      const random = new SeededRandom(5);
      const x = randomArray(random, types.shape('input'));
      const v = randomArray(random, y);
      const session = await runtime.createSession(model, { threads: 1 });
      const results = await session.run({ input: x, v });
      await session.release();
      const expected = reference(layer, x.data as Float32Array, w, v.data as Float32Array);
      assertNear(defined(results.get(dX ?? ''), 'dX').data as Float32Array, expected.dX);
      assertNear(defined(results.get(dW ?? ''), 'dW').data as Float32Array, expected.dW);
    });
  }
});

/** Float32 sums of a few hundred products: 1e-7 of each term, and the terms are of order 1. */
function assertNear(got: Float32Array, expected: Float64Array): void {
  assert.equal(got.length, expected.length);
  const size = Math.max(...expected.map(Math.abs));
  expected.forEach((value, index) => {
    assert.ok(Math.abs(value - (got[index] ?? NaN)) < 1e-5 * size, `at ${index}: ${got[index]}, expected ${value}`);
  });
}
