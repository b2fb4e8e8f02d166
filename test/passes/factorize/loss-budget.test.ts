import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { factorizeSvd } from '../../../src/passes/factorize/svd.ts';
import { factorizeTucker } from '../../../src/passes/factorize/tucker.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import type { FeedSource, Pass, PassContext } from '../../../src/passes/pass.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { contextOf, net, noise, outputOf } from '../quantize/helpers.ts';

const ROWS = 32;
const table = (rows: number, cols: number, at: (i: number, j: number) => number): Float32Array =>
  Float32Array.from({ length: rows * cols }, (_, k) => at(Math.floor(k / cols), k % cols));
const W = table(12, 16, (i, j) => Math.sin((i + 1) * (j + 2) * 0.7 + i * i * 0.3));
const X = table(ROWS, 12, (i, j) => (Math.cos((i + 1) * (j + 1) * 0.9 + j * j * 0.2) * (12 - j)) / 6);

/**
 * Of XW, by numpy.linalg.svd in float64: share of the squares that its best approximation of rank 1, 2, ... loses, and share of the
 * rows whose largest entry moves.
 */
const LOST = [0.558575492719, 0.292807773945, 0.0860000714445, 0.0439865782713, 0.019957602416, 0.00538356357377];
/** Rank and share of moved rows. */
const MOVED = [
  [6, 5 / 32],
  [5, 6 / 32],
  [2, 20 / 32],
] as const;

const product = (): Model =>
  net({
    nodes: [makeNode('MatMul', ['x', 'w'], ['y'], { name: 'product' })],
    tensors: [Tensor.float('w', W, [12, 16])],
    inputs: { x: ['n', 12] },
    outputs: { y: ['n', 16] },
  });

/** All rows in batches of eight, labelled with what the product answers where `isLabelled`. */
async function rows(isLabelled = false): Promise<FeedSource> {
  const answers = await outputOf(product(), { x: { type: 'float', dims: [ROWS, 12], data: X } });
  const labels = Array.from({ length: ROWS }, (_, i) => {
    const row = answers.subarray(16 * i, 16 * i + 16);
    return BigInt(row.indexOf(Math.max(...row)));
  });
  return {
    samples: ROWS,
    async *batches() {
      for (let at = 0; at < ROWS; at += 8) {
        const x = { type: 'float' as const, dims: [8, 12], data: X.slice(12 * at, 12 * (at + 8)) };
        const own = { type: 'int64' as const, dims: [8], data: BigInt64Array.from(labels.slice(at, at + 8)) };
        yield await Promise.resolve({ feeds: { x }, count: 8, ...(isLabelled ? { labels: own } : {}) });
      }
    },
  };
}

const run = (model: Model, options: object, context: PassContext, pass: Pass = factorizeSvd) =>
  runStep(model, { pass, options: pass.options.parse(options) }, context);
const rankOf = (model: Model): number | undefined => {
  const [first, second] = model.graph.nodes;
  return second === undefined ? undefined : model.graph.initializers.get(first?.inputs[1] ?? '')?.dims[1];
};

describe('factorize: rank by what the model may lose', () => {
  it('errorBudget: takes the lowest rank whose error numpy finds within it', async () => {
    for (const [budget, rank] of [
      [0.6, 1],
      [0.3, 2],
      [0.0861, 3],
      [0.0859, 4],
      [0.0055, 6],
    ] as const) {
      const model = product();
      const { details } = await run(model, { errorBudget: budget }, contextOf(await rows()));
      assert.equal(rankOf(model), rank, `budget ${budget}`);
      const { error } = details['measured'] as { error: number };
      // Weights and sums in float32.
      assert.ok(Math.abs(error - (LOST[rank - 1] ?? NaN)) < 1e-5, `${error}`);
    }
  });

  it('leaves the model as it is, and says so, where not even the first step is within the budget', async () => {
    const model = product();
    const bytes = encodeModel(model);
    const { changes, skipped, warnings } = await run(model, { errorBudget: 0.004 }, contextOf(await rows()));
    assert.equal(changes, 0);
    assert.match(warnings[0] ?? '', /within the budget/);
    assert.deepEqual(skipped, [{ node: 'product', reason: 'errorBudget 0.004 is used up by cheaper steps' }]);
    assert.deepEqual(encodeModel(model), bytes);
  });

  it('maxAccuracyDrop: goes by the rows whose largest entry moves', async () => {
    for (const [rank, drop] of MOVED) {
      const model = product();
      const { details } = await run(model, { maxAccuracyDrop: drop }, contextOf(await rows(true)));
      assert.equal(rankOf(model), rank);
      assert.equal((details['measured'] as { accuracyDrop: number }).accuracyDrop, drop);
    }
    const refused = run(product(), { maxAccuracyDrop: 0.1 }, contextOf(await rows()));
    await assert.rejects(refused, { code: 'PASS_PRECONDITION', message: /class label/ });
  });

  const images = (): FeedSource => ({
    samples: 6,
    async *batches() {
      for (let at = 0; at < 3; at += 1) {
        const input = { type: 'float' as const, dims: [2, 3, 16, 16], data: noise(2 * 768, 50 + at) };
        yield await Promise.resolve({ feeds: { input }, count: 2 });
      }
    },
  });
  const resnet = (): Model =>
    buildArchitecture({ architecture: 'resnet', depth: 8, width: 0.5, classes: 5, inputSize: 16, inputChannels: 3 }, 3);

  async function measured(original: Model, model: Model): Promise<number> {
    let [off, whole] = [0, 0];
    for await (const { feeds } of images().batches()) {
      const [y, z] = [await outputOf(original, feeds), await outputOf(model, feeds)];
      y.forEach((value, i) => {
        off += (value - (z[i] ?? NaN)) ** 2;
        whole += value ** 2;
      });
    }
    return off / whole;
  }

  for (const pass of [factorizeSvd, factorizeTucker]) {
    it(`${pass.name}: a network loses no more than it may, a larger budget makes it cheaper, the bytes are the same twice`, async () => {
      const macs: number[] = [];
      for (const budget of [1e-3, 0.05]) {
        const model = resnet();
        const { details, changes } = await run(model, { errorBudget: budget }, contextOf(images()), pass);
        const error = await measured(resnet(), model);
        assert.ok(error <= budget, `${error}`);
        if (changes > 0)
          assert.ok(Math.abs((details['measured'] as { error: number }).error - error) < 1e-3 * error + 1e-9);
        assert.equal((details['macs'] as { after: number }).after, macsOf(model).total);
        macs.push(macsOf(model).total);
        const again = resnet();
        await run(again, { errorBudget: budget }, contextOf(images()), pass);
        assert.deepEqual(encodeModel(again), encodeModel(model));
      }
      const [small = 0, large = 0] = macs;
      assert.ok(large < small && small <= macsOf(resnet()).total, macs.join());
    });
  }

  it('needs calibration data, and goes with no other rule', () => {
    const parsed = factorizeSvd.options.parse({ errorBudget: 0.1, dataAware: false });
    assert.deepEqual(factorizeSvd.needs(parsed), ['calibration']);
    assert.ok(!factorizeTucker.options.safeParse({ errorBudget: 0.1, maxAccuracyDrop: 0.1 }).success);
    assert.ok(!factorizeSvd.options.safeParse({ errorBudget: 0.1, macsRatio: 0.5 }).success);
  });

  it('stops when it is canceled between two measurements', async () => {
    const controller = new AbortController();
    let calls = 0;
    const context = contextOf(images(), {
      signal: controller.signal,
      progress: (_, message) => {
        if (message === 'measuring ranks' && (calls += 1) === 2) controller.abort();
      },
    });
    await assert.rejects(run(resnet(), { errorBudget: 0.05 }, context), { name: 'AbortError' });
  });
});
