import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { resizePixels } from '../../src/data/image-resize.ts';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { CompressionError } from '../../src/errors.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import type { Model } from '../../src/onnx/model.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import {
  buildArchitecture,
  networkWithoutWeights,
  type ArchitectureRequest,
} from '../../src/zoo/build-architecture.ts';
import { countNetwork } from '../../src/zoo/counts.ts';
import { NetworkBuilder } from '../../src/zoo/network-builder.ts';
import { zeroWeights } from '../../src/zoo/weights.ts';

const folder = mkdtempSync(join(tmpdir(), 'resolution-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const runtime = createRuntime(folder);

async function outputOf(model: Model, dims: readonly number[], data: Float32Array): Promise<Float32Array> {
  const session = await runtime.createSession(model, { threads: 1 });
  const result = (await session.run({ input: { type: 'float', dims, data } })).get('logits');
  await session.release();
  assert.ok(result?.data instanceof Float32Array);
  return result.data;
}

const macsOf = (request: ArchitectureRequest): number => countNetwork(networkWithoutWeights(request)).macs;
const operators = ({ graph }: Model): string[] => graph.nodes.map(({ opType }) => opType);

for (const { name, example } of ARCHITECTURES) {
  const given = { ...Object(example), architecture: name, inputSize: 28, inputChannels: 3 } as { architecture: string };
  it(`${name} works at a resolution of its own, behind the input that was asked for`, async () => {
    // What vit's patches of 4 pixels fit.
    const small = buildArchitecture({ ...given, resolution: 20 }, 1);
    verifyModel(small);
    const [first] = small.graph.nodes;
    assert.deepEqual([first?.opType, first?.name, first?.inputs[0]], ['Resize', 'stem.resize', 'input']);
    const random = new SeededRandom(2);
    const data = Float32Array.from({ length: 2 * 3 * 28 * 28 }, () => random.normal());
    const logits = await outputOf(small, [2, 3, 28, 28], data);
    assert.equal(logits.length, 20);
    assert.ok(logits.every(Number.isFinite));

    const at = (resolution: unknown) => countNetwork(networkWithoutWeights({ ...given, resolution }));
    const [a, b, c] = [at(20), at(24), at('input')];
    const work = (counts: typeof a): number => counts.macs + counts.adderOperations;
    assert.ok(work(a) < work(b) && work(b) < work(c), `${work(a)}, ${work(b)}, ${work(c)}`);
    // The layers are those of a network made for images of 20 pixels.
    assert.deepEqual(at(20), countNetwork(networkWithoutWeights({ ...given, inputSize: 20 })));
  });
}

describe('resolution', () => {
  it('that is the size of the input puts no layer in', () => {
    const plain = encodeModel(buildArchitecture({ architecture: 'resnet', depth: 8, inputSize: [24, 32] }, 3));
    for (const resolution of ['input', [24, 32]]) {
      const model = buildArchitecture({ architecture: 'resnet', depth: 8, inputSize: [24, 32], resolution }, 3);
      assert.ok(Buffer.from(plain).equals(encodeModel(model)));
    }
    assert.ok(operators(buildArchitecture({ architecture: 'mlp', resolution: [32, 31] }, 0)).includes('Resize'));
  });

  it('decides which stem suits: that of the size the layers work at', () => {
    const at = (inputSize: number, resolution: unknown) =>
      macsOf({ architecture: 'resnet', depth: 18, inputSize, resolution });
    assert.equal(at(224, 64), at(64, 'input'));
    assert.equal(at(64, 224), at(224, 'input'));
  });

  it('is named where it leaves no network', () => {
    const isInvalidAt = (pointer: string) => (error: unknown) =>
      error instanceof CompressionError && error.code === 'RECIPE_INVALID' && error.places[0]?.pointer === pointer;
    const small = { architecture: 'squeezenet', stem: 'large', inputSize: 224, resolution: 4 };
    assert.throws(() => networkWithoutWeights(small), isInvalidAt('/resolution'));
    assert.throws(
      () => networkWithoutWeights({ architecture: 'vit', resolution: 30 }, ['model']),
      isInvalidAt('/model/resolution'),
    );
    assert.throws(() => networkWithoutWeights({ architecture: 'mlp', resolution: 2 }), isInvalidAt('/resolution'));
  });

  for (const [from, to] of [
    [37, 20],
    [28, 12],
    [20, 28],
  ] as const)
    it(`resizes as images of data sets are, ${from} to ${to} pixels`, async () => {
      const network = new NetworkBuilder('resize', zeroWeights());
      const resized = network.resize('resize', network.input(1, from, from), to, to);
      const model = network.finish({ ...network.flatten('flatten', resized) });
      const random = new SeededRandom(5);
      const pixels = Uint8Array.from({ length: from * from }, () => Math.floor(random.uniform() * 256));
      const own = await outputOf(model, [1, 1, from, from], Float32Array.from(pixels));
      const { data } = resizePixels(
        { height: from, width: from, channels: 1, data: pixels },
        { height: to, width: to, fit: 'fill' },
      );
      // Images are rounded twice, half a step each; the second time weights of sum 1 go over the first.
      for (const [index, value] of own.entries())
        assert.ok(Math.abs(value - (data[index] ?? 0)) <= 1.01, `${index}: ${value}`);
    });
});
