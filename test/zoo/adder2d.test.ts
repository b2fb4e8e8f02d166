import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { tmpdir } from 'node:os';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { inferTypes } from '../../src/onnx/inference/infer-types.ts';
import { elementCount } from '../../src/onnx/nd-array.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { adderLayer, isAdder } from '../../src/zoo/adder2d.ts';
import { NetworkBuilder } from '../../src/zoo/network-builder.ts';
import { seededWeights } from '../../src/zoo/weights.ts';

interface Layer {
  readonly batch: number;
  readonly inputs: number;
  readonly size: readonly [height: number, width: number];
  readonly channels: number;
  readonly kernel: number;
  readonly stride: number;
}

const LAYERS: readonly Layer[] = [
  { batch: 2, inputs: 3, size: [6, 5], channels: 4, kernel: 3, stride: 1 },
  { batch: 1, inputs: 2, size: [7, 7], channels: 3, kernel: 3, stride: 2 },
  { batch: 3, inputs: 5, size: [4, 6], channels: 2, kernel: 1, stride: 2 },
  { batch: 1, inputs: 1, size: [9, 8], channels: 1, kernel: 5, stride: 1 },
];

/** The definition, read off the paper's equation 2, in double precision. */
function distances(x: Float32Array, w: Float32Array, layer: Layer): number[] {
  const { batch, inputs, channels, kernel, stride } = layer;
  const [height, width] = layer.size;
  const padding = (kernel - 1) / 2;
  const outHeight = Math.floor((height - 1) / stride) + 1;
  const outWidth = Math.floor((width - 1) / stride) + 1;
  const y: number[] = [];
  for (let n = 0; n < batch; n += 1)
    for (let m = 0; m < channels; m += 1)
      for (let oh = 0; oh < outHeight; oh += 1)
        for (let ow = 0; ow < outWidth; ow += 1) {
          let sum = 0;
          for (let c = 0; c < inputs; c += 1)
            for (let i = 0; i < kernel; i += 1)
              for (let j = 0; j < kernel; j += 1) {
                const [h, v] = [oh * stride + i - padding, ow * stride + j - padding];
                const isInside = h >= 0 && h < height && v >= 0 && v < width;
                const pixel = isInside ? x[((n * inputs + c) * height + h) * width + v]! : 0;
                sum -= Math.abs(pixel - w[((m * inputs + c) * kernel + i) * kernel + j]!);
              }
          y.push(sum);
        }
  return y;
}

describe('Adder2D', () => {
  const runtime = createRuntime(tmpdir());
  const sessions: { release(): Promise<void> }[] = [];
  after(() => Promise.all(sessions.map((session) => session.release())));

  for (const layer of LAYERS) {
    it(`is minus the L1 distance: ${JSON.stringify(layer)}`, async () => {
      const { batch, inputs, channels, kernel, stride } = layer;
      const network = new NetworkBuilder('adder', seededWeights(4));
      const y = adderLayer(network, 'add', network.input(inputs, ...layer.size), { channels, kernel, stride });
      const model = decodeModel(encodeModel(network.finish(y)));
      verifyModel(model);
      const inferred = inferTypes(model).shape(model.graph, 'logits');
      assert.deepEqual(inferred, ['batch', y.channels, y.height, y.width]);

      const random = new SeededRandom(9);
      const dims = [batch, inputs, ...layer.size];
      const data = Float32Array.from({ length: elementCount(dims) }, () => random.normal());
      const session = await runtime.createSession(model, { threads: 1 });
      sessions.push(session);
      const result = (await session.run({ input: { type: 'float', dims, data } })).get('logits');
      const weight = model.graph.initializers.get('add.weight')!.floats();
      const expected = distances(data, weight, layer);
      assert.deepEqual(result?.dims, [batch, channels, y.height, y.width]);
      const got = result.data as Float32Array;
      // Sums of up to 50 terms of size 1, in float32: 50 * 6e-8 each for three sums.
      expected.forEach((value, index) => assert.ok(Math.abs(value - got[index]!) < 2e-5, `${value} ${got[index]}`));
    });
  }

  it('is one node that says what it is, and whose body is standard operators', () => {
    const network = new NetworkBuilder('adder', seededWeights(4));
    const y = adderLayer(network, 'add', network.input(4, 8, 8), { channels: 4, kernel: 3 });
    const model = network.finish(adderLayer(network, 'add2', y, { channels: 4, kernel: 3 }));
    assert.ok(model.graph.nodes.every(isAdder));
    assert.equal(model.functions.length, 1);
    assert.ok(model.functions[0]!.nodes.every(({ domain }) => domain === ''));
  });
});
