import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { z } from 'zod';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { CompressionError } from '../../src/errors.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { inferTypes } from '../../src/onnx/inference/infer-types.ts';
import type { Model } from '../../src/onnx/model.ts';
import { elementCount } from '../../src/onnx/nd-array.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import { countNetwork } from '../../src/zoo/counts.ts';
import { buildArchitecture, networkWithoutWeights, resolveArchitecture } from '../../src/zoo/build-architecture.ts';

const folder = mkdtempSync(join(tmpdir(), 'zoo-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const runtime = createRuntime(folder);

/** Standard normal images through the model; logits as rows. */
async function logitsOf(
  model: Model,
  dims: readonly number[],
): Promise<{ dims: readonly number[]; data: Float32Array }> {
  const random = new SeededRandom(11);
  const data = Float32Array.from({ length: elementCount(dims) }, () => random.normal());
  const session = await runtime.createSession(model, { threads: 1 });
  const result = (await session.run({ input: { type: 'float', dims, data } })).get('logits');
  await session.release();
  assert.ok(result?.data instanceof Float32Array);
  return { dims: result.dims, data: result.data };
}

const shapeOfInput = (model: Model): number[] => {
  const type = model.graph.inputs[0]?.type;
  assert.ok(type?.kind === 'tensor');
  return (type.shape ?? []).map((size) => (typeof size === 'number' ? size : 2));
};

for (const architecture of ARCHITECTURES) {
  describe(`architecture ${architecture.name}`, () => {
    const example = { architecture: architecture.name, ...Object(architecture.example) } as { architecture: string };

    it('verifies, and every shape is inferred', () => {
      const model = buildArchitecture(example, 1);
      verifyModel(model);
      const types = inferTypes(model);
      assert.deepEqual(types.unknown, []);
      for (const node of model.graph.nodes) {
        for (const output of node.outputs) {
          const shape = types.shape(model.graph, output);
          assert.ok(
            shape?.every((size) => size !== null),
            `${node.name}: ${JSON.stringify(shape)}`,
          );
        }
      }
    });

    it('gives finite logits of the declared shape, neither dead nor exploding', async () => {
      const model = buildArchitecture(example, 1);
      const { dims, data } = await logitsOf(model, shapeOfInput(model));
      assert.deepEqual(dims, [2, 10]);
      assert.ok(data.every(Number.isFinite));
      const rms = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
      // An adder layer only gives negative numbers, which ReLU cuts off until BatchNormalization has seen a batch.
      if (architecture.name === 'addernet') return;
      // Fresh statistics do not normalize, and MobileNetV3 ends in two layers that start at 0.01: wide bounds, but a
      // network whose signal dies or doubles at every layer is far outside.
      assert.ok(rms > 1e-5 && rms < 100, `root mean square ${rms}`);
      // The image matters: the two rows differ.
      assert.ok(data.subarray(0, 10).some((value, index) => Math.abs(value - (data[10 + index] ?? 0)) > 1e-3 * rms));
    });

    it('gives the same bytes for the same seed, others for another', () => {
      const bytes = Buffer.from(encodeModel(buildArchitecture(example, 5)));
      assert.ok(bytes.equals(encodeModel(buildArchitecture(example, 5))));
      assert.ok(!bytes.equals(encodeModel(buildArchitecture(example, 6))));
    });

    it('names every node and initializer once, in paths', () => {
      const { nodes, initializers } = buildArchitecture(example, 1).graph;
      const names = nodes.map((node) => node.name);
      assert.equal(new Set(names).size, names.length);
      for (const name of [...names, ...initializers.keys()]) assert.match(name, /^[a-z][a-z0-9_.]*$/);
      // A name that had to be made unique would not be stable when a layer is added ahead of it.
      assert.deepEqual(
        [...names].filter((name) => /_\d+$/.test(name)),
        [],
      );
    });

    it('takes classes, channels and a size that is not square', async () => {
      const model = buildArchitecture({ ...example, classes: 7, inputChannels: 1, inputSize: [28, 36] }, 1);
      const { dims, data } = await logitsOf(model, [3, 1, 28, 36]);
      assert.deepEqual(dims, [3, 7]);
      assert.ok(data.every(Number.isFinite));
    });

    it('refuses unknown options, and states a default and a description for each', () => {
      assert.throws(() => resolveArchitecture({ ...example, typo: 1 }, ['model']), isInvalidAt('/model/typo'));
      const schema = z.toJSONSchema(architecture.options, { io: 'input' });
      assert.equal(schema.additionalProperties, false);
      for (const [name, option] of Object.entries(schema.properties ?? {})) {
        assert.ok(typeof option === 'object' && 'default' in option && option.description !== undefined, name);
      }
    });
  });
}

function isInvalidAt(pointer: string): (error: unknown) => boolean {
  return (error) =>
    error instanceof CompressionError && error.code === 'RECIPE_INVALID' && error.places[0]?.pointer === pointer;
}

describe('buildArchitecture', () => {
  it('names the architectures there are when asked for another', () => {
    assert.throws(() => buildArchitecture({ architecture: 'alexnet' }, 0), isInvalidAt('/architecture'));
    assert.throws(() => buildArchitecture({ architecture: 'alexnet' }, 0), /resnet, wide-resnet/);
  });

  it('refuses a depth that no such network has', () => {
    assert.throws(() => buildArchitecture({ architecture: 'resnet', depth: 19 }, 0), isInvalidAt('/depth'));
    assert.throws(
      () => buildArchitecture({ architecture: 'densenet', depth: 41 }, 0, ['model']),
      isInvalidAt('/model/depth'),
    );
  });

  it('refuses a map that shrinks to nothing, a patch that does not fit, and a network beyond 2 GB', () => {
    const small = { architecture: 'squeezenet', inputSize: 4, stem: 'large' };
    assert.throws(() => buildArchitecture(small, 0, ['model']), isInvalidAt('/model/inputSize'));
    assert.throws(() => buildArchitecture({ architecture: 'vit', inputSize: 30 }, 0), isInvalidAt('/inputSize'));
    const huge = { architecture: 'mlp', width: 16384, inputSize: 4096 };
    assert.throws(
      () => buildArchitecture(huge, 0),
      (error) => error instanceof CompressionError && error.code === 'RECIPE_INVALID',
    );
  });

  it('can be asked whether there is such a network, without weights being drawn', () => {
    const { options } = resolveArchitecture({ architecture: 'resnet', depth: 8 });
    assert.equal(options['shortcut'], 'projection');
    assert.equal(countNetwork(networkWithoutWeights({ architecture: 'resnet', depth: 8 })).parameters, 78_042);
    assert.throws(
      () => networkWithoutWeights({ architecture: 'vit', inputSize: 30 }, ['model']),
      isInvalidAt('/model/inputSize'),
    );
    const padded = { architecture: 'resnet', depth: 8, shortcut: 'pad', stemChannels: 32 };
    assert.throws(() => networkWithoutWeights(padded, ['model']), isInvalidAt('/model/shortcut'));
  });

  it('starts the last gamma of every residual block at zero when asked to', () => {
    const { initializers } = buildArchitecture({ architecture: 'resnet', depth: 8, zeroInitResidual: true }, 0).graph;
    assert.deepEqual([...new Set(initializers.get('stage1.block1.bn2.weight')?.floats())], [0]);
    assert.deepEqual([...new Set(initializers.get('stage1.block1.bn1.weight')?.floats())], [1]);
  });

  it('writes BatchNormalization with the momentum and epsilon of the papers', () => {
    const momentum = (architecture: string): [number, number] => {
      const node = buildArchitecture({ architecture }, 0).graph.nodes.find(
        ({ opType }) => opType === 'BatchNormalization',
      );
      assert.ok(node);
      return [node.float('momentum', 0), node.float('epsilon', 0)];
    };
    assert.deepEqual(momentum('mobilenet-v3'), [0.99, 1e-3]);
    assert.deepEqual(momentum('resnet'), [0.9, 1e-5]);
  });

  it('draws He normal weights: standard deviation sqrt(2 / fan-out)', () => {
    const { initializers } = buildArchitecture({ architecture: 'resnet', depth: 20 }, 3).graph;
    const weight = initializers.get('stage3.block1.conv2.weight');
    assert.ok(weight);
    const values = weight.floats();
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    // 36,864 draws: the relative error of the variance is sqrt(2/36864) = 0.7 %; five of these.
    assert.ok(Math.abs(variance / (2 / (64 * 9)) - 1) < 0.037);
  });
});
