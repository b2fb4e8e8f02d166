import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { decodeClusteredModel } from '../../../src/client/clustered-model.ts';
import type { TrainingSource } from '../../../src/data/training/training-source.ts';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { SIDECAR_NAME, clusterWeights } from '../../../src/passes/cluster/weights.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { contextOf, net, noise, operators, outputOf, weight } from '../quantize/helpers.ts';

const FEEDS: Record<string, NdArray> = { x: { type: 'float', dims: [4, 4, 8, 8], data: noise(1024, 77) } };

/** A convolution and a product; 60 % of the product's weights are zero. */
function network(opset = 21): Model {
  const dense = noise(16 * 200, 4).map((value) => (Math.abs(value) < 0.6 ? 0 : value));
  const model = net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads: [1, 1, 1, 1] }, name: 'conv' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu' }),
      makeNode('GlobalAveragePool', ['r1'], ['p'], { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { name: 'flatten' }),
      makeNode('MatMul', ['f', 'w2'], ['h'], { name: 'hidden' }),
      makeNode('Relu', ['h'], ['g'], { name: 'relu2' }),
      makeNode('Gemm', ['g', 'w3', 'b3'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      weight('w1', [16, 4, 3, 3], 1),
      weight('b1', [16], 2),
      Tensor.float('w2', dense, [16, 200]),
      weight('w3', [5, 200], 5),
      weight('b3', [5], 6),
    ],
    inputs: { x: ['n', 4, 8, 8] },
    outputs: { y: ['n', 5] },
  });
  model.opsetImports.set('', opset);
  return model;
}

const run = (model: Model, options: object, context: PassContext = contextOf()) =>
  runStep(model, { pass: clusterWeights, options: clusterWeights.options.parse(options) }, context);

/** What a weight's graph computes, without ONNX Runtime: the codebook at the stored indices. */
function stored(model: Model, name: string): { values: number[]; codebook: Float32Array; dims: readonly number[] } {
  const { initializers } = model.graph;
  const indices = initializers.get(`${name}_indices`);
  const codebook = initializers.get(`${name}_codebook`)?.floats() ?? new Float32Array(0);
  const bytes = indices?.bytes() ?? new Uint8Array(0);
  const count = indices?.elementCount ?? 0;
  const codes = Array.from({ length: count }, (_, i) =>
    indices?.dataType === 'uint4' ? ((bytes[i >> 1] ?? 0) >> (4 * (i % 2))) & 15 : (bytes[i] ?? 0),
  );
  return { values: codes.map((code) => codebook[code] ?? NaN), codebook, dims: indices?.dims ?? [] };
}

describe('cluster.weights', () => {
  for (const [bits, type] of [
    [3, 'uint4'],
    [4, 'uint4'],
    [8, 'uint8'],
  ] as const) {
    it(`${bits} bits: ${type} indices, a codebook, standard operators, a smaller file`, async () => {
      const model = network();
      const before = encodeModel(model).length;
      const { changes } = await run(model, { bits });
      assert.equal(changes, 3);
      assert.equal(operators(model)['Gather'], changes);
      assert.equal(model.graph.initializers.get('w2_indices')?.dataType, type);
      assert.ok(stored(model, 'w2').codebook.length <= 2 ** bits);
      const after = encodeModel(model).length;
      assert.ok(after < before * (bits === 8 ? 0.55 : 0.35), `${after} of ${before}`);
    });
  }

  it('computes with the clustered weights: the same as a float model that holds them', async () => {
    const model = network();
    await run(model, { bits: 4 });
    const reference = network();
    for (const name of ['w1', 'w2', 'w3']) {
      const { values, dims } = stored(model, name);
      reference.graph.initializers.set(name, Tensor.float(name, values, dims));
    }
    const [a, b] = [await outputOf(reference, FEEDS), await outputOf(model, FEEDS)];
    // The same numbers in the same kernels.
    a.forEach((value, i) => assert.ok(Math.abs(value - (b[i] ?? 0)) < 1e-6));
  });

  it('keeps the zeros of a sparse tensor at exactly zero, and only those', async () => {
    const model = network();
    const dense = model.graph.initializers.get('w2')?.floats() ?? new Float32Array(0);
    await run(model, { bits: 4 });
    stored(model, 'w2').values.forEach((value, i) => assert.equal(value === 0, dense[i] === 0));
  });

  it('is exact where a tensor has no more values than centroids', async () => {
    const model = network();
    const few = Float32Array.from(noise(1000, 9), (value) => Math.round(value * 3) / 3);
    model.graph.initializers.set('w3', Tensor.float('w3', few, [5, 200]));
    const before = await outputOf(model, FEEDS);
    await run(model, { bits: 4, include: ['head'] });
    const after = await outputOf(model, FEEDS);
    assert.deepEqual(after, before);
  });

  it('stores bytes below opset 21, which has no uint4', async () => {
    const model = network(17);
    await run(model, { bits: 4 });
    assert.equal(model.graph.initializers.get('w2_indices')?.dataType, 'uint8');
    await outputOf(model, FEEDS);
  });

  it('leaves a tensor whose codebook would take as much, and one that another operator reads', async () => {
    const model = net({
      nodes: [
        makeNode('Conv', ['x', 'w1'], ['c'], { name: 'small' }),
        makeNode('Relu', ['c'], ['r'], { name: 'relu' }),
        makeNode('Conv', ['r', 'w2'], ['y'], { name: 'read' }),
        makeNode('Shape', ['w2'], ['s'], { name: 'shape' }),
      ],
      tensors: [weight('w1', [6, 4, 3, 3]), weight('w2', [64, 6, 3, 3])],
      inputs: { x: [1, 4, 8, 8] },
      outputs: { y: [1, 64, 4, 4] },
    });
    const bytes = encodeModel(model);
    const { changes, skipped } = await run(model, { bits: 8 });
    assert.equal(changes, 0);
    assert.deepEqual(encodeModel(model), bytes);
    assert.match(
      skipped.find(({ node }) => node === 'small')?.reason ?? '',
      /would take \d+ bytes, the weight takes 864/,
    );
    assert.match(skipped.find(({ node }) => node === 'read')?.reason ?? '', /shared/);
  });

  it('codes the indices: the sidecar gives back the model file, byte for byte, near the entropy', async () => {
    const model = network();
    const result = await run(model, { bits: 5, entropyCode: true });
    const [artifact] = result.artifacts ?? [];
    assert.ok(artifact !== undefined);
    assert.equal(artifact.name, SIDECAR_NAME);
    const file = encodeModel(model);
    const restored = decodeClusteredModel(artifact.bytes);
    assert.equal(createHash('sha256').update(restored).digest('hex'), createHash('sha256').update(file).digest('hex'));
    assert.deepEqual(await outputOf(decodeModel(restored), FEEDS), await outputOf(model, FEEDS));
    const { sidecar, entropyBits } = result.details as {
      sidecar: { bytes: number; codedIndexBytes: number; modelBytes: number };
      entropyBits: number;
    };
    assert.equal(sidecar.bytes, artifact.bytes.length);
    assert.equal(sidecar.modelBytes, file.length);
    // 32 counts to learn in each of three tensors.
    assert.ok(
      sidecar.codedIndexBytes < (entropyBits / 8) * 1.05 + 150,
      `${sidecar.codedIndexBytes}, ${entropyBits / 8}`,
    );
    assert.ok(artifact.bytes.length < file.length);
  });

  it('refuses a damaged sidecar in words', async () => {
    const { artifacts } = await run(network(), { bits: 5, entropyCode: true });
    const bytes = artifacts?.[0]?.bytes ?? new Uint8Array(0);
    assert.throws(() => decodeClusteredModel(Uint8Array.of(1, 2, 3)), /not a sidecar/);
    const flipped = Uint8Array.from(bytes);
    flipped[flipped.length - 40] = (flipped[flipped.length - 40] ?? 0) ^ 255;
    assert.throws(() => decodeClusteredModel(flipped), RangeError);
    for (const length of [60, 200, bytes.length - 100]) {
      assert.throws(() => decodeClusteredModel(bytes.subarray(0, length)), RangeError);
    }
  });

  it('gives the same bytes twice, with any start', async () => {
    for (const init of ['linear', 'density', 'random']) {
      const [a, b] = [network(), network()];
      for (const model of [a, b]) await run(model, { bits: 4, init });
      assert.deepEqual(encodeModel(a), encodeModel(b));
    }
  });

  it('refuses what cannot be, and stops when it is canceled', async () => {
    for (const bits of [0, 9, 2.5]) assert.equal(clusterWeights.options.safeParse({ bits }).success, false);
    await assert.rejects(run(network(), { include: ['nothing*'] }), { code: 'RECIPE_NO_MATCH' });
    await assert.rejects(run(network(), { finetune: true }), { code: 'PASS_PRECONDITION' });
    const controller = new AbortController();
    controller.abort();
    await assert.rejects(run(network(), {}, contextOf(undefined, { signal: controller.signal })), {
      name: 'AbortError',
    });
  });

  it('trains the centroids and nothing else: indices, zeros and other weights stay, the loss falls', async () => {
    const start = network();
    await run(start, { bits: 2 });
    const model = network();
    const training = { epochs: 4, batchSize: 16, optimizer: 'adam', learningRate: 0.01, validation: { fraction: 0 } };
    const result = await run(model, { bits: 2, finetune: true, training }, trainingContext());
    for (const name of ['w1', 'w2', 'w3']) {
      const [before, after] = [stored(start, name), stored(model, name)];
      assert.deepEqual(
        model.graph.initializers.get(`${name}_indices`)?.bytes(),
        start.graph.initializers.get(`${name}_indices`)?.bytes(),
      );
      assert.notDeepEqual(after.codebook, before.codebook);
    }
    assert.ok(stored(start, 'w2').codebook.includes(0));
    assert.deepEqual(
      stored(model, 'w2').values.map((value) => value === 0),
      stored(start, 'w2').values.map((value) => value === 0),
    );
    assert.deepEqual(model.graph.initializers.get('b1')?.bytes(), start.graph.initializers.get('b1')?.bytes());
    assert.deepEqual(operators(model), operators(start));
    assert.deepEqual([...model.graph.initializers.keys()], [...start.graph.initializers.keys()]);
    const losses = result.training?.[0]?.epochs.map(({ loss }) => loss) ?? [];
    assert.ok((losses.at(-1) ?? 1) < (losses[0] ?? 0), losses.join(' '));
  });
});

/** Four batches an epoch whose label is the loudest of the first channels. */
function trainingContext(): PassContext {
  const plain = contextOf();
  const size = 16;
  const batch = (step: number) => {
    const data = noise(size * 256, 500 + step);
    const labels = BigInt64Array.from({ length: size }, (_, i) => {
      const sums = [0, 1, 2, 3].map((c) =>
        data.subarray(i * 256 + c * 64, i * 256 + (c + 1) * 64).reduce((sum, value) => sum + value, 0),
      );
      return BigInt(sums.indexOf(Math.max(...sums)));
    });
    return {
      feeds: { x: { type: 'float' as const, dims: [size, 4, 8, 8], data } },
      labels: { type: 'int64' as const, dims: [size], data: labels },
      count: size,
    };
  };
  const source: TrainingSource = {
    info: {
      samples: 4 * size,
      validationSamples: 0,
      batchSize: size,
      stepsPerEpoch: 4,
      arrays: new Map([['x', 'x']]),
      labels: { array: 'labels', kind: 'class' },
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 1024,
      warnings: [],
    },
    async *epoch(epoch, fromStep = 0) {
      for (let step = fromStep; step < 4; step += 1) {
        yield await Promise.resolve({ ...batch(step), epoch, step, samples: new Uint32Array(size) });
      }
    },
    validation: () => undefined,
    close: () => Promise.resolve(),
  };
  return {
    ...plain,
    data: { training: { samples: 64, batches: () => source.epoch(0) } },
    openTraining: () => Promise.resolve(source),
  };
}
