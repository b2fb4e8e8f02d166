import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../../src/onnx/cost/macs.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { countWeightElements } from '../../../../src/onnx/print/summarize-model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import type { FeedSource, PassContext } from '../../../../src/passes/pass.ts';
import { findBranches } from '../../../../src/passes/prune/layers/branches.ts';
import { pruneLayers } from '../../../../src/passes/prune/layers/layers.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';
import { randomizeVectors } from '../helpers.ts';
import { inType } from '../in-type.ts';
import { contextOf, cosine, net, noise, outputOf, weight } from '../../quantize/helpers.ts';

const SMALL = { classes: 5, inputSize: 16, inputChannels: 3 };

/** Seven samples of noise, three at a time; labels are what `teacher` answers, where there is one. */
function images(labels?: readonly number[]): FeedSource {
  return {
    samples: 7,
    async *batches(size = 3) {
      for (let at = 0; at < 7; at += size) {
        const count = Math.min(size, 7 - at);
        const data = noise(7 * 768, 77).slice(at * 768, (at + count) * 768);
        const feeds = { input: { type: 'float' as const, dims: [count, 3, 16, 16], data } };
        const part = labels?.slice(at, at + count);
        yield await Promise.resolve({
          feeds,
          count,
          ...(part && { labels: { type: 'int64' as const, dims: [count], data: BigInt64Array.from(part, BigInt) } }),
        });
      }
    },
  };
}

const run = (model: Model, options: object, context: PassContext = contextOf(images())) =>
  runStep(model, { pass: pruneLayers, options: pruneLayers.options.parse(options) }, context);

const feed = (model: Model) =>
  outputOf(model, { input: { type: 'float', dims: [2, 3, 16, 16], data: noise(2 * 768, 5) } });

/** Zeroes what the branch adds, by the weights of the last layer (and its bias, and a normalization behind it). */
function silence(model: Model, sumName: string): void {
  const { graph } = model;
  const branch = findBranches(model).branches.find(({ sum }) => sum.name === sumName);
  assert.ok(branch, sumName);
  let value = branch.residual;
  for (;;) {
    const node = graph.nodes.find(({ outputs }) => outputs.includes(value));
    assert.ok(node);
    for (const name of node.inputs.slice(node.opType === 'BatchNormalization' ? 1 : 0)) {
      const tensor = graph.initializers.get(name);
      if (tensor === undefined || (node.opType === 'BatchNormalization' && node.inputs.indexOf(name) > 2)) continue;
      const zeros = `${name}_zero`;
      graph.initializers.set(zeros, Tensor.float(zeros, new Float32Array(tensor.elementCount), tensor.dims));
      node.inputs[node.inputs.indexOf(name)] = zeros;
    }
    if (['Conv', 'MatMul', 'Gemm', 'BatchNormalization'].includes(node.opType)) return;
    value = node.inputs.find((name) => !graph.initializers.has(name) && !name.endsWith('_zero')) ?? '';
  }
}

function assertClose(actual: Float32Array, expected: Float32Array): void {
  assert.equal(actual.length, expected.length);
  const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  // Two orders of the same sums in float32: 1e-5 of the largest value is ten times what was seen.
  actual.forEach((value, i) => assert.ok(Math.abs(value - (expected[i] ?? NaN)) <= 1e-5 * size, `[${i}] ${value}`));
}

/** The class with the highest score in each row of five. */
const classesOf = (scores: Float32Array): number[] =>
  Array.from({ length: scores.length / 5 }, (_, i) => {
    const row = scores.subarray(5 * i, 5 * i + 5);
    return row.indexOf(Math.max(...row));
  });

const NETS = {
  'a ResNet': { architecture: 'resnet', depth: 14, width: 0.5, ...SMALL },
  'a MobileNetV2': { architecture: 'mobilenet-v2', width: 0.25, ...SMALL },
  'a Wide ResNet (pre-activation)': { architecture: 'wide-resnet', depth: 16, width: 1, ...SMALL },
  'a ViT': { architecture: 'vit', patchSize: 4, width: 24, depth: 3, heads: 3, ...SMALL },
};

describe('prune.layers', () => {
  for (const [name, request] of Object.entries(NETS)) {
    it(`${name}: what is left answers as the network whose branches add nothing`, async () => {
      const model = buildArchitecture(request, 3);
      const original = copyModel(model);
      const { changes, details } = await run(model, { count: 2 });
      assert.equal(changes, 2);
      const removed = details['removed'] as { node: string; macs: number; parameters: number }[];
      for (const { node } of removed) silence(original, node.replace(/^.*"(.*)"$/, '$1'));
      assertClose(await feed(model), await feed(original));
      verifyModel(model);
      const after = { macs: macsOf(model).total, parameters: countWeightElements(model) };
      assert.deepEqual(details['after'], after);
      assert.deepEqual(details['before'], {
        macs: macsOf(original).total,
        parameters: (details['before'] as typeof after).parameters,
      });
      const saved = removed.reduce((sum, { macs }) => sum + macs, 0);
      assert.equal(saved, macsOf(original).total - after.macs);
    });
  }
});

describe('prune.layers: choice and limits', () => {
  const resnet = () => buildArchitecture({ architecture: 'resnet', depth: 14, width: 0.5, ...SMALL }, 3);

  /** Makes one branch add all but nothing: the normalization behind its last convolution is scaled down. */
  function quiet(model: Model, block: string): void {
    const name = `${block}.bn2.weight`;
    const scale = model.graph.initializers.get(name);
    assert.ok(scale, [...model.graph.initializers.keys()].join());
    model.graph.initializers.set(
      name,
      Tensor.float(
        name,
        scale.floats().map((value) => value * 1e-4),
        scale.dims,
      ),
    );
  }

  for (const score of ['cosine', 'metric']) {
    it(`${score}: takes the branch that adds next to nothing`, async () => {
      const model = resnet();
      quiet(model, 'stage2.block2');
      const { details } = await run(model, { count: 1, score });
      assert.equal((details['removed'] as { node: string }[])[0]?.node, 'Add "stage2.block2.add"');
    });
  }

  it('metric: where there are labels, the branch goes that costs the least accuracy', async () => {
    // Vectors with which the four branches cost different accuracies.
    const model = resnet();
    randomizeVectors(model, 14);
    const feeds = { input: { type: 'float' as const, dims: [7, 3, 16, 16], data: noise(7 * 768, 77) } };
    const whole = await outputOf(model, feeds);
    const labels = classesOf(whole);
    const alone: { node: string; accuracyDrop: number; change: number }[] = [];
    for (const { sum } of findBranches(model).branches) {
      const without = copyModel(model);
      silence(without, sum.name);
      const scores = await outputOf(without, feeds);
      const wrong = classesOf(scores).filter((label, i) => label !== labels[i]).length;
      alone.push({ node: `Add "${sum.name}"`, accuracyDrop: wrong / 7, change: 1 - cosine(whole, scores) });
    }
    assert.equal(new Set(alone.map(({ accuracyDrop }) => accuracyDrop)).size, 4);
    const [least] = alone.toSorted((a, b) => a.accuracyDrop - b.accuracyDrop);
    const [mildest] = alone.toSorted((a, b) => a.change - b.change);
    assert.ok(least !== undefined && least !== mildest && least !== alone[0]);

    const { details } = await run(model, { count: 1, score: 'metric' }, contextOf(images(labels)));
    const [removed] = details['removed'] as { node: string; accuracyDrop: number; distance: number }[];
    assert.equal(removed?.node, least.node);
    assert.ok(Math.abs(removed.accuracyDrop - least.accuracyDrop) < 1e-12 && removed.distance > 0);
  });

  it('keeps the share of multiply-accumulates it is asked for, and no branch too few', async () => {
    const model = resnet();
    const before = macsOf(model).total;
    const { details } = await run(model, { macsRatio: 0.8 });
    const removed = details['removed'] as { macs: number }[];
    const after = macsOf(model).total;
    assert.ok(after <= 0.8 * before);
    assert.ok(after + (removed.at(-1)?.macs ?? 0) > 0.8 * before);
  });

  it('lists blocks whose shape changes, and refuses to take more than there is', async () => {
    const { skipped } = await run(resnet(), { count: 1 });
    assert.deepEqual(
      skipped.map(({ node }) => node),
      ['Add "stage2.block1.add"', 'Add "stage3.block1.add"'],
    );
    assert.match(skipped[0]?.reason ?? '', /\[2, 8, 16, 16\] becomes \[2, 16, 8, 8\]/);
    await assert.rejects(run(resnet(), { count: 99 }), {
      code: 'PASS_PRECONDITION',
      message: /stage1\.block1\.add.*2 more cannot/,
    });
    await assert.rejects(run(resnet(), { macsRatio: 0.01 }), { code: 'PASS_PRECONDITION', message: /out of reach/ });
    await assert.rejects(run(resnet(), { count: 1, macsRatio: 0.5 }), { code: 'PASS_PRECONDITION', message: /both/ });
  });

  it('keeps the name of a graph output, and leaves sums that are no branch', async () => {
    const model = net({
      nodes: [
        makeNode('MatMul', ['x', 'w1'], ['a'], { name: 'first' }),
        makeNode('MatMul', ['a', 'w2'], ['b'], { name: 'second' }),
        makeNode('Pow', ['b', 'three'], ['c'], { name: 'cube' }),
        makeNode('Add', ['b', 'c'], ['d'], { name: 'gelu' }),
        makeNode('Add', ['a', 'd'], ['y'], { name: 'sum' }),
      ],
      tensors: [weight('w1', [4, 4], 1), weight('w2', [4, 4], 2), Tensor.float('three', [3], [])],
      inputs: { x: [2, 4] },
      outputs: { y: [2, 4] },
    });
    assert.deepEqual(
      findBranches(model).branches.map(({ sum }) => sum.name),
      ['sum'],
    );
    const x: FeedSource = {
      samples: 2,
      async *batches() {
        yield await Promise.resolve({ feeds: { x: { type: 'float', dims: [2, 4], data: noise(8) } }, count: 2 });
      },
    };
    await run(model, { count: 1 }, contextOf(x));
    assert.deepEqual(
      model.graph.nodes.map(({ opType }) => opType),
      ['MatMul', 'Identity'],
    );
    assert.deepEqual([...model.graph.initializers.keys()], ['w1']);
    // What is left has no branch: nothing to do, and it is said.
    const { changes, warnings } = await run(model, { count: 1 }, contextOf(x));
    assert.equal(changes, 0);
    assert.match(warnings[0] ?? '', /no residual branch/);
  });

  it('leaves branches that are excluded, by their sum or by a layer', async () => {
    const names = async (exclude: string[]) => {
      const { details, skipped } = await run(resnet(), { count: 2, exclude });
      const removed = details['removed'] as { node: string }[];
      return {
        removed: removed.map(({ node }) => node),
        skipped: skipped.filter(({ reason }) => reason.includes('excluded')),
      };
    };
    const { removed: free } = await names([]);
    const first = free[0]?.replace(/^.*"(.*)"$/, '$1') ?? '';
    for (const glob of [first, first.replace('add', 'conv1')]) {
      const { removed, skipped } = await names([glob]);
      assert.ok(!removed.includes(free[0] ?? ''), glob);
      assert.equal(removed.length, 2);
      assert.deepEqual(skipped, [{ node: free[0], reason: 'excluded by the options' }]);
    }
    await assert.rejects(run(resnet(), { count: 1, exclude: ['Conv'] }), {
      code: 'PASS_PRECONDITION',
      message: /excluded/,
    });
    await assert.rejects(run(resnet(), { count: 1, exclude: ['none'] }), { code: 'RECIPE_NO_MATCH' });
  });

  it('unit block: takes attention and dense branch of a transformer together, and a ResNet as before', async () => {
    const vit = () => buildArchitecture(NETS['a ViT'], 3);
    const model = vit();
    const original = copyModel(model);
    const { details, changes } = await run(model, { count: 1, unit: 'block' });
    assert.equal(changes, 1);
    assert.equal((details['candidates'] as string[]).length, 3);
    const [removed] = details['removed'] as { node: string; layers: string[] }[];
    const block = /block\d/.exec(removed?.node ?? '')?.[0] ?? '';
    const own = findBranches(original).branches.filter(({ sum }) => sum.name.startsWith(block));
    assert.equal(own.length, 2);
    assert.equal(
      removed?.layers.length,
      own.reduce((sum, { layers }) => sum + layers.length, 0),
    );
    for (const { sum } of own) silence(original, sum.name);
    assertClose(await feed(model), await feed(original));
    verifyModel(model);
    assert.ok(!model.graph.nodes.some(({ name }) => name.startsWith(block)));

    const [branch, whole] = [resnet(), resnet()];
    await run(branch, { count: 2 });
    await run(whole, { count: 2, unit: 'block' });
    assert.deepEqual(encodeModel(whole), encodeModel(branch));
    // A caller that reads the sum in the middle of a block keeps its two branches apart.
    const read = vit();
    const middle = findBranches(read).branches[0]?.sum.outputs[0] ?? '';
    read.graph.outputs.push(tensorValue(middle, 'float'));
    assert.equal(((await run(read, { count: 1, unit: 'block' })).details['candidates'] as string[]).length, 4);
  });

  for (const score of ['cosine', 'metric']) {
    it(`float16 weights, ${score}: takes the branch that adds next to nothing`, async () => {
      const model = resnet();
      quiet(model, 'stage2.block2');
      inType(model, 'float16');
      const { details } = await run(model, { count: 1, score });
      assert.equal((details['removed'] as { node: string }[])[0]?.node, 'Add "stage2.block2.add"');
      verifyModel(model);
    });
  }

  it('gives the same bytes for the same request, and stops when it is canceled', async () => {
    const [a, b] = [resnet(), resnet()];
    await run(a, { count: 2 });
    await run(b, { count: 2 });
    assert.deepEqual(encodeModel(a), encodeModel(b));
    const canceled = contextOf(images(), { signal: AbortSignal.abort() });
    await assert.rejects(run(resnet(), { count: 1 }, canceled), { name: 'AbortError' });
  });
});
