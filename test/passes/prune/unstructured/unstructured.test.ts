import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeNode } from '../../../../src/onnx/node.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { pruneUnstructured } from '../../../../src/passes/prune/unstructured/unstructured.ts';
import { prunePattern } from '../../../../src/passes/prune/pattern/pattern.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import type { Pass } from '../../../../src/passes/pass.ts';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { decodeSparseModel } from '../../../../src/client/sparse-model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { contextOf, net, runtime, source, weight } from '../../quantize/helpers.ts';

const DIMS = [1, 4, 8, 8];

function network(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads: [1, 1, 1, 1] }, name: 'conv1' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { name: 'conv2' }),
      makeNode('GlobalAveragePool', ['c2'], ['p'], { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3', 'b3'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      weight('w1', [8, 4, 3, 3], 1, 0.1),
      weight('b1', [8], 2),
      weight('w2', [8, 8, 3, 3], 3),
      weight('w3', [5, 8], 4),
      weight('b3', [5], 5),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 5] },
  });
}

const context = contextOf(source('x', DIMS));
const zeros = (model: Model, name: string): number =>
  (model.graph.initializers.get(name)?.floats() ?? new Float32Array(0)).filter((value) => value === 0).length;
const run = (model: Model, options: object, pass: Pass = pruneUnstructured) =>
  runStep(model, { pass, options: pass.options.parse(options) }, context);

describe('prune.unstructured', () => {
  it('zeroes the exact share of each layer, no bias, and says so', async () => {
    const model = network();
    const result = await run(model, { sparsity: 0.3 });
    assert.deepEqual(
      ['w1', 'w2', 'w3', 'b1', 'b3'].map((name) => zeros(model, name)),
      [86, 173, 12, 0, 0],
    );
    assert.equal(result.changes, 3);
    assert.equal(result.details['zeros'], 271);
    assert.match(result.warnings.join(), /no sparse kernels/);
    const layers = result.details['layers'] as { layer: string; density: number }[];
    assert.deepEqual(
      layers.map(({ layer }) => layer),
      ['conv1', 'conv2', 'head'],
    );
    assert.equal(layers[2]?.density, 28 / 40);
  });

  it('keeps the largest weights of a layer', async () => {
    const before = network().graph.initializers.get('w2')?.floats() ?? new Float32Array(0);
    const model = network();
    await run(model, { sparsity: 0.5 });
    const after = model.graph.initializers.get('w2')?.floats() ?? new Float32Array(0);
    const kept = before.filter((_, i) => after[i] !== 0).map(Math.abs);
    const gone = before.filter((_, i) => after[i] === 0).map(Math.abs);
    assert.ok(Math.min(...kept) >= Math.max(...gone));
    assert.ok(before.every((value, i) => after[i] === 0 || after[i] === value));
  });

  it('ranks all layers together on request: the layer of small weights loses more', async () => {
    const model = network();
    await run(model, { sparsity: 0.5, scope: 'global' });
    assert.equal(zeros(model, 'w1') + zeros(model, 'w2') + zeros(model, 'w3'), 452);
    assert.ok(zeros(model, 'w1') / 288 > 0.8 && zeros(model, 'w2') / 576 < 0.4);
  });

  it('changes nothing the second time', async () => {
    for (const method of ['magnitude', 'random', 'lamp']) {
      const model = network();
      await run(model, { method, sparsity: 0.4 });
      assert.equal((await run(model, { method, sparsity: 0.4 })).changes, 0, method);
    }
  });

  it('names the layers that a threshold or a ranking would empty', async () => {
    await assert.rejects(run(network(), { threshold: 0.2 }), {
      code: 'PASS_PRECONDITION',
      message: /"conv1" \(288 weights\)/,
    });
    await assert.rejects(run(network(), { threshold: 0.2 }), /lower threshold/);
    await assert.rejects(run(network(), { sparsity: 0.99, scope: 'global' }), /"conv1"/);
    const model = network();
    await run(model, { threshold: 0.2, exclude: ['conv1'] });
    assert.equal(zeros(model, 'w1'), 0);
    assert.ok(zeros(model, 'w2') > 0);
  });

  it('refuses globs that match no layer, with the names there are', async () => {
    await assert.rejects(run(network(), { include: ['dense*'] }), {
      code: 'RECIPE_NO_MATCH',
      message: /conv1, conv2, head/,
    });
    await assert.rejects(run(network(), { exclude: ['relu1'] }), { code: 'RECIPE_NO_MATCH' });
  });

  it('refuses impossible options when the recipe is read', () => {
    for (const options of [
      { sparsity: 1 },
      { sparsity: 0 },
      { sparsity: 0.5, threshold: 0.1 },
      { method: 'lamp', threshold: 0.1 },
    ])
      assert.ok(!pruneUnstructured.options.safeParse(options).success, JSON.stringify(options));
    assert.match(pruneUnstructured.options.safeParse({ sparsity: 1 }).error?.message ?? '', /constant/);
  });

  it('leaves alone, with the reason, what it cannot or must not prune', async () => {
    const model = network();
    const node = model.graph.nodes[5];
    assert.ok(node !== undefined);
    model.graph.nodes.splice(5, 1, node, makeNode('Mul', ['w2', 'w2'], ['unused'], { name: 'square' }));
    model.graph.inputs.push({ name: 'w1', type: undefined });
    const { skipped } = await run(model, { exclude: ['head'] });
    const reasons = new Map(skipped.map((skip) => [skip.node, skip.reason]));
    assert.match(reasons.get('conv1') ?? '', /caller may replace/);
    assert.match(reasons.get('conv2') ?? '', /shared with square/);
    assert.match(reasons.get('head') ?? '', /excluded/);
  });

  it('zeroes a shared weight once and keeps it shared', async () => {
    const model = net({
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['a'], { name: 'first' }),
        makeNode('MatMul', ['a', 'w'], ['y'], { name: 'second' }),
      ],
      tensors: [weight('w', [6, 6], 1)],
      inputs: { x: [1, 6] },
      outputs: { y: [1, 6] },
    });
    const result = await run(model, { sparsity: 0.5 });
    assert.equal(result.details['weights'], 36);
    assert.equal(zeros(model, 'w'), 18);
    const { skipped } = await run(model, { exclude: ['second'], sparsity: 0.75 });
    assert.match(skipped.find(({ node }) => node === 'first')?.reason ?? '', /shared with second, which is excluded/);
    assert.equal(zeros(model, 'w'), 18);
  });
});

describe('prune.pattern', () => {
  it('leaves n of m along the input channels of each layer, whatever its layout', async () => {
    const model = network();
    model.graph.initializers.set('w3', weight('w3', [5, 8], 4));
    await run(model, {}, prunePattern);
    const w2 = model.graph.initializers.get('w2')?.floats() ?? new Float32Array(0);
    for (let o = 0; o < 8; o += 1)
      for (let c = 0; c < 8; c += 4)
        for (let k = 0; k < 9; k += 1)
          assert.equal([0, 1, 2, 3].filter((j) => w2[(o * 8 + c + j) * 9 + k] === 0).length, 2);
    assert.equal(zeros(model, 'w3'), 20);
  });

  it('zeroes blocks', async () => {
    const model = network();
    await run(model, { block: [4, 2], sparsity: 0.25, include: ['conv2'] }, prunePattern);
    // 2 x 4 x 9 blocks, a quarter of them gone, 8 weights each.
    assert.equal(zeros(model, 'w2'), 18 * 8);
    assert.equal(zeros(model, 'w1'), 0);
  });

  it('refuses n that is not below m', () => {
    assert.ok(!prunePattern.options.safeParse({ n: 4, m: 4 }).success);
  });
});

describe('methods that read layer inputs', () => {
  const cases: [object, Pass, number][] = [
    // Wanda: 18 of 36, 36 of 72, 4 of 8 weights of each row. SparseGPT: half of each layer.
    [{ method: 'wanda' }, pruneUnstructured, 8 * 18 + 8 * 36 + 5 * 4],
    [{ method: 'sparsegpt' }, pruneUnstructured, 144 + 288 + 20],
    [{ method: 'wanda' }, prunePattern, 144 + 288 + 20],
    [{ method: 'sparsegpt' }, prunePattern, 144 + 288 + 20],
  ];
  for (const [options, pass, expected] of cases)
    it(`${pass.name} ${JSON.stringify(options)} zeroes exact counts, the same each time`, async () => {
      const [first, second] = [network(), network()];
      const result = await run(first, options, pass);
      await run(second, options, pass);
      assert.equal(zeros(first, 'w1') + zeros(first, 'w2') + zeros(first, 'w3'), expected);
      assert.equal(result.details['zeros'], expected);
      assert.equal(result.changes, 3);
      assert.deepEqual(encodeModel(first), encodeModel(second));
    });

  it('SparseGPT keeps the output closer than Wanda, and Wanda closer than a random choice', async () => {
    const expected = await output(network());
    const errors: number[] = [];
    for (const method of ['sparsegpt', 'wanda', 'random']) {
      const model = network();
      await run(model, { method, sparsity: 0.5, include: ['conv2'] });
      const got = await output(model);
      errors.push(expected.reduce((sum, value, i) => sum + (value - (got[i] ?? 0)) ** 2, 0));
    }
    const [gpt = 0, wanda = 0, random = 0] = errors;
    assert.ok(gpt < 0.8 * wanda && wanda < random, errors.join(', '));
  });

  it('wants calibration data, and refuses a global ranking', async () => {
    assert.deepEqual(pruneUnstructured.needs(pruneUnstructured.options.parse({ method: 'wanda' })), ['calibration']);
    assert.ok(!pruneUnstructured.options.safeParse({ method: 'wanda', scope: 'global' }).success);
    assert.ok(!prunePattern.options.safeParse({ method: 'sparsegpt', block: [2, 2] }).success);
    const without = { ...context, data: {} };
    const step = { pass: pruneUnstructured, options: pruneUnstructured.options.parse({ method: 'sparsegpt' }) };
    await assert.rejects(runStep(network(), step, without), { code: 'PASS_PRECONDITION' });
  });
});

async function output(model: Model): Promise<number[]> {
  const session = await runtime.createSession(model, { threads: 1 });
  const all: number[] = [];
  for await (const { feeds } of source('x', DIMS).batches()) {
    const result = (await session.run(feeds)).get('y');
    all.push(...Array.from(result?.data ?? [], Number));
  }
  await session.release();
  return all;
}

describe('sidecar', () => {
  const sidecarOf = async (options: object, pass: Pass = pruneUnstructured, model = network()) => {
    const result = await run(model, { ...options, sidecar: true }, pass);
    const [artifact] = result.artifacts ?? [];
    assert.ok(artifact !== undefined);
    return { model, artifact, details: result.details['sidecar'] as Record<string, number> };
  };

  for (const [what, options, pass] of [
    ['a sparsity', { sparsity: 0.8 }, pruneUnstructured],
    ['a threshold', { threshold: { deviations: 1 } }, pruneUnstructured],
    ['2 of 4', {}, prunePattern],
    ['blocks', { block: [2, 2], sparsity: 0.7 }, prunePattern],
  ] as const) {
    it(`of ${what}: the client gives the model file back, byte for byte; the report has the bytes`, async () => {
      const { model, artifact, details } = await sidecarOf(options, pass);
      assert.equal(artifact.name, 'sparse.tersors');
      const file = encodeModel(model);
      assert.deepEqual(Buffer.from(decodeSparseModel(artifact.bytes)), Buffer.from(file));
      assert.equal(details['bytes'], artifact.bytes.length);
      assert.equal(details['modelBytes'], file.length);
      assert.equal(details['tensors'], 3);
      assert.ok(artifact.bytes.length < file.length * 0.75);
    });
  }

  it('holds what was sparse before, and says so of a model with nothing sparse in it', async () => {
    const model = network();
    await run(model, { sparsity: 0.9, include: ['conv1'] });
    const { details } = await sidecarOf({ sparsity: 0.9, include: ['conv2'] }, pruneUnstructured, model);
    assert.equal(details['tensors'], 2);
    const dense = await sidecarOf({ threshold: 1e-30 });
    assert.equal(dense.details['tensors'], 0);
    assert.deepEqual(Buffer.from(decodeSparseModel(dense.artifact.bytes)), Buffer.from(encodeModel(dense.model)));
  });

  it('is refused, before anything runs, of a model that is too large for one file', () => {
    const model = network();
    const byteLength = 2 ** 31;
    const read = (): never => assert.fail('the weights were read');
    const file = { location: 'w.bin', byteLength, read, readInto: read };
    const storage = { kind: 'external', file, offset: 0, byteLength } as const;
    model.graph.initializers.set(
      'big',
      new Tensor({ name: 'big', dataType: 'float', dims: [byteLength / 4], storage }),
    );
    for (const pass of [pruneUnstructured, prunePattern]) {
      assert.equal(pass.requires(model, pass.options.parse({})), undefined);
      assert.match(
        pass.requires(model, pass.options.parse({ sidecar: true })) ?? '',
        /sidecar: the model takes 21\d+ bytes/,
      );
    }
  });

  it('is not there unless it is asked for', async () => {
    assert.equal((await run(network(), { sparsity: 0.8 })).artifacts, undefined);
  });
});
