import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { countWeightElements } from '../../../../src/onnx/print/summarize-model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import type { FeedSource, PassContext, PassResult } from '../../../../src/passes/pass.ts';
import { pruneHeads } from '../../../../src/passes/prune/heads/heads.ts';
import { findFeatures, findHeads } from '../../../../src/passes/prune/heads/sites.ts';
import { GraphFacts } from '../../../../src/passes/prune/heads/spread.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';
import { contextOf, noise, outputOf } from '../../quantize/helpers.ts';
import { inType } from '../in-type.ts';
import { batched, cached, fused, gated, grouped, separate } from './attention-nets.ts';

const SIZES = { heads: 4, size: 3, width: 10, tokens: 5 };
const VIT = { architecture: 'vit', patchSize: 4, width: 24, depth: 2, heads: 3, classes: 5, inputSize: 16 };

function feedOf(model: Model, batch: number, seed: number) {
  const [input] = model.graph.inputs;
  assert.ok(input?.type?.kind === 'tensor');
  const dims = [batch, ...(input.type.shape ?? []).slice(1).map(Number)];
  const data = noise(
    dims.reduce((product, size) => product * size, 1),
    seed,
  );
  return { [input.name]: { type: 'float' as const, dims, data } };
}

function samples(model: Model): FeedSource {
  return {
    samples: 6,
    async *batches() {
      for (let step = 0; step < 3; step += 1) {
        yield await Promise.resolve({ feeds: feedOf(model, 2, 40 + step), count: 2 });
      }
    },
  };
}

const run = (model: Model, options: object, changes: Partial<PassContext> = {}): Promise<PassResult> =>
  runStep(model, { pass: pruneHeads, options: pruneHeads.options.parse(options) }, contextOf(samples(model), changes));

interface Removed {
  readonly node: string;
  readonly before: number;
  readonly after: number;
  readonly removed: readonly number[];
  readonly headsPerUnit?: number;
}
const places = ({ details }: PassResult): Removed[] => [
  ...(details['attention'] as Removed[]),
  ...(details['feedForward'] as Removed[]),
];

/** The same model with rows of zeros in the layers that take the removed units in: nothing of them reaches the output. */
function masked(original: Model, result: PassResult): Model {
  const model = copyModel(original);
  const facts = new GraphFacts(original);
  const heads = findHeads(facts);
  const sites = [...heads.sites, ...findFeatures(facts, heads.sites).sites];
  for (const { node, removed } of places(result)) {
    const site = sites.find((candidate) => node.endsWith(`"${candidate.node.name}"`));
    assert.ok(site, node);
    for (const use of site.weights) {
      if (use.side !== 'takes') continue;
      const name = use.node.inputs[1] ?? '';
      const tensor = model.graph.initializers.get(name);
      assert.ok(tensor);
      const values = Float32Array.from(tensor.floats());
      const [, columns = 1] = tensor.dims;
      values.forEach((_, i) => {
        const position = use.axis === 0 ? Math.floor(i / columns) : i % columns;
        if (removed.includes(use.mark.labels[position] ?? -1)) values[i] = 0;
      });
      model.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
    }
  }
  return model;
}

async function assertEquivalent(model: Model, mask: Model): Promise<void> {
  for (const batch of [1, 3]) {
    const feeds = feedOf(mask, batch, 7);
    const [actual, expected] = [await outputOf(model, feeds), await outputOf(mask, feeds)];
    const size = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
    assert.equal(actual.length, expected.length);
    // The same products summed in another order, in float32.
    actual.forEach((value, i) => assert.ok(Math.abs(value - (expected[i] ?? NaN)) <= 1e-5 * size, `[${i}] ${value}`));
  }
}

const NETS: Readonly<Record<string, (seed: number) => Model>> = {
  'a ViT of the zoo': (seed) => buildArchitecture(VIT, seed),
  'separate layers, shapes computed': (seed) => separate(SIZES, seed),
  'one layer for all, a bias for each head': (seed) => fused(SIZES, seed),
  'batch and heads in one axis': (seed) => batched(SIZES, seed),
  'grouped queries': (seed) => grouped(SIZES, seed),
};

describe('prune.heads', () => {
  for (const [name, build] of Object.entries(NETS)) {
    for (const [at, options] of [
      { ratio: 0.5, importance: 'activation' },
      { ratio: 0.7, importance: 'random' },
    ].entries()) {
      it(`${name}, ${options.importance}: equals the model with those heads masked`, async () => {
        const model = build(10 * at + 1);
        const original = copyModel(model);
        const result = await run(model, options, { seed: at });
        assert.ok(result.changes > 0);
        assert.deepEqual(result.skipped, []);
        verifyModel(model);
        for (const { before, after, removed } of places(result)) {
          assert.equal(after, before - removed.length);
          assert.equal(removed.length, Math.floor(before * options.ratio));
        }
        await assertEquivalent(model, masked(original, result));
        const after = { macs: macsOf(model).total, parameters: countWeightElements(model) };
        assert.deepEqual(result.details['after'], after);
        assert.deepEqual(result.details['before'], {
          macs: macsOf(original).total,
          parameters: countWeightElements(original),
        });
        assert.ok(after.macs < macsOf(original).total);
      });
    }
  }

  it('takes grouped queries with their keys and values', async () => {
    const model = grouped(SIZES, 3);
    const [place] = places(await run(model, { ratio: 0.5, importance: 'l2' }));
    assert.deepEqual([place?.before, place?.after, place?.headsPerUnit], [2, 1, 2]);
    assert.deepEqual(model.graph.initializers.get('k_w')?.dims, [10, 3]);
    assert.deepEqual(model.graph.initializers.get('q_w')?.dims, [10, 6]);
  });

  it('removes hidden features, gated ones from both layers', async () => {
    for (const model of [gated(8, 12, 2), buildArchitecture(VIT, 4)]) {
      const original = copyModel(model);
      const result = await run(model, { ratio: 0, ffnRatio: 0.3 });
      assert.ok(result.changes > 0);
      assert.deepEqual(result.details['attention'], []);
      await assertEquivalent(model, masked(original, result));
    }
    const model = gated(8, 12, 2);
    await run(model, { ratio: 0, ffnRatio: 0.3, importance: 'l2' });
    for (const name of ['gate_w', 'up_w']) assert.deepEqual(model.graph.initializers.get(name)?.dims, [8, 9]);
    assert.deepEqual(model.graph.initializers.get('out_w')?.dims, [9, 8]);
  });

  it('goes by contribution: a head whose rows are all but zero goes first', async () => {
    const model = separate(SIZES, 5);
    const out = model.graph.initializers.get('out_w');
    assert.ok(out);
    // Head 2 holds rows 6 to 8 of 12.
    const values = Float32Array.from(out.floats(), (value, i) => (Math.floor(i / 10 / 3) === 2 ? value * 1e-3 : value));
    model.graph.initializers.set('out_w', Tensor.float('out_w', values, out.dims));
    const [place] = places(await run(model, { ratio: 0.25, importance: 'activation' }));
    assert.deepEqual(place?.removed, [2]);
  });

  it('leaves heads that the interface shows, and says so', async () => {
    const model = separate(SIZES, 5);
    const shares = model.graph.nodes.find(({ opType }) => opType === 'Softmax')?.outputs[0] ?? '';
    model.graph.outputs.push(tensorValue(shares, 'float', ['batch', 4, 5, 5]));
    const bytes = encodeModel(model);
    const result = await run(model, { ratio: 0.5 });
    assert.equal(result.changes, 0);
    assert.match(result.skipped[0]?.reason ?? '', /output of the model/);
    assert.deepEqual(encodeModel(model), bytes);
  });

  it('leaves heads of a decoder whose cache is an input, with the reason', async () => {
    const model = cached(SIZES, 5);
    const bytes = encodeModel(model);
    const result = await run(model, { ratio: 0.5, importance: 'l2' });
    assert.equal(result.changes, 0);
    assert.deepEqual(
      result.skipped.map(({ node }) => node),
      ['MatMul "mix"'],
    );
    assert.match(result.skipped[0]?.reason ?? '', /(input|output) of the model/);
    assert.deepEqual(encodeModel(model), bytes);
  });

  it('leaves what is excluded, by the product or by a layer of it, and takes the others', async () => {
    for (const exclude of [['block1.attention.mix'], ['block1.attention.*']]) {
      const result = await run(buildArchitecture(VIT, 4), { ratio: 0.5, importance: 'l2', exclude });
      assert.deepEqual(
        places(result).map(({ node }) => node),
        ['MatMul "block2.attention.mix"'],
      );
      assert.deepEqual(result.skipped, [{ node: 'MatMul "block1.attention.mix"', reason: 'excluded by the options' }]);
    }
    await assert.rejects(run(buildArchitecture(VIT, 4), { exclude: ['nothing*'] }), { code: 'RECIPE_NO_MATCH' });
  });

  for (const type of ['float16', 'double'] as const) {
    for (const importance of ['l2', 'activation']) {
      it(`${type} weights, ${importance}: takes the heads that the float model loses`, async () => {
        const float = separate(SIZES, 5);
        const expected = places(await run(float, { ratio: 0.5, importance }));
        const model = inType(separate(SIZES, 5), type);
        const actual = places(await run(model, { ratio: 0.5, importance }));
        assert.deepEqual(
          actual.map(({ removed, after }) => ({ removed, after })),
          expected.map(({ removed, after }) => ({ removed, after })),
        );
        assert.equal(model.graph.initializers.get('q_w')?.dataType, type);
        assert.deepEqual(model.graph.initializers.get('q_w')?.dims, [10, 6]);
        verifyModel(model);
      });
    }
  }

  it('leaves heads whose sizes are computed in a way that is not followed, and takes the others', async () => {
    const model = buildArchitecture(VIT, 4);
    const reshape = model.graph.nodes.find(({ name }) => name === 'block1.attention.flatten');
    assert.ok(reshape);
    const [shape = ''] = reshape.inputs.slice(1);
    const constant = model.graph.initializers.get(shape);
    assert.ok(constant);
    model.graph.initializers.set(
      'half',
      Tensor.int64(
        'half',
        constant.integers().map((size, i) => (i === 2 ? size / 2 : size)),
      ),
    );
    model.graph.initializers.set('twice', Tensor.int64('twice', [1, 1, 2]));
    const product = Object.assign(Object.create(Object.getPrototypeOf(reshape) as object), reshape, {
      name: 'product',
      opType: 'Mul',
      inputs: ['half', 'twice'],
      outputs: ['product'],
      attributes: new Map(),
    }) as typeof reshape;
    model.graph.nodes.splice(model.graph.nodes.indexOf(reshape), 0, product);
    reshape.inputs[1] = 'product';
    const original = copyModel(model);
    const result = await run(model, { ratio: 0.5, importance: 'l2' });
    assert.deepEqual(
      places(result).map(({ node }) => node),
      ['MatMul "block2.attention.mix"'],
    );
    assert.match(result.skipped[0]?.reason ?? '', /not followed/);
    await assertEquivalent(model, masked(original, result));
  });

  it('says that a ratio removes nothing', async () => {
    const result = await run(separate(SIZES, 5), { ratio: 0.2 });
    assert.equal(result.changes, 0);
    assert.match(result.skipped[0]?.reason ?? '', /0\.2 of 4 heads is less than one/);
  });

  it('gives the same bytes for the same request, others for another seed', async () => {
    const bytes = async (seed: number) => {
      const model = fused({ ...SIZES, heads: 8 }, 1);
      await run(model, { ratio: 0.5, importance: 'random' }, { seed });
      return encodeModel(model);
    };
    assert.deepEqual(await bytes(1), await bytes(1));
    assert.notDeepEqual(await bytes(1), await bytes(2));
  });

  it('stops when the job is canceled', async () => {
    const model = separate(SIZES, 5);
    await assert.rejects(run(model, { ratio: 0.5 }, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  });
});
