import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../src/onnx/verify/verify-model.ts';
import { canonicalize } from '../../../src/passes/canonicalize/canonicalize.ts';
import { trainFinetune } from '../../../src/passes/train/finetune.ts';
import { copyModel } from '../../../src/training/copy-model.ts';
import { restoreBatchNormalization } from '../../../src/training/restore-batch-normalization.ts';
import { exampleBatches, exampleModel, runtime } from '../../training/helpers.ts';
import { SIDE, stripes, teacherNet, TRAINING, trainingContext } from '../distill/helpers.ts';

type Feeds = Readonly<Record<string, NdArray>>;

async function outputsOf(model: Model, feeds: Feeds): Promise<Float32Array> {
  const session = await runtime.createSession(model, { threads: 1 });
  try {
    const [first] = (await session.run(feeds)).values();
    assert.ok(first?.data instanceof Float32Array);
    return first.data;
  } finally {
    await session.release();
  }
}

async function fold(model: Model): Promise<Model> {
  await canonicalize.run(
    model,
    canonicalize.options.parse({ foldBatchNormalization: true }),
    trainingContext(model, DATA),
  );
  assert.equal(count(model, 'BatchNormalization'), 0);
  return model;
}

async function* once(feeds: Feeds): AsyncGenerator<{ feeds: Feeds; count: number }> {
  yield await Promise.resolve({ feeds, count: Object.values(feeds)[0]?.dims[0] ?? 0 });
}

const count = (model: Model, opType: string): number =>
  model.graph.nodes.filter((node) => node.opType === opType).length;
const restore = (model: Model, feeds: Feeds): Promise<number> =>
  restoreBatchNormalization(model, {
    runtime,
    threads: 1,
    signal: new AbortController().signal,
    batches: once(feeds),
  });

const DATA = stripes(160);

describe('restoreBatchNormalization', () => {
  for (const opset of [17, 21]) {
    it(`leaves the function as it is, opset ${opset}`, async () => {
      const model = await fold(await exampleModel());
      model.opsetImports.set('', opset);
      const [measured, other] = await exampleBatches(model, 32, 2);
      assert.ok(measured !== undefined && other !== undefined);
      const before = await outputsOf(model, other.feeds);
      assert.equal(await restore(model, measured.feeds), count(model, 'Conv'));
      verifyModel(model);
      assert.equal(count(model, 'BatchNormalization'), count(model, 'Conv'));
      const after = await outputsOf(model, other.feeds);
      // Logits are about 10; float32 rounds each of some ten layers by 6e-8 of that.
      after.forEach((value, i) => assert.ok(Math.abs(value - before[i]!) < 1e-5 * Math.max(10, Math.abs(value))));
    });
  }

  it('has the mean and variance that the values have behind filters of one norm', async () => {
    const model = await fold(await exampleModel());
    const [batch] = await exampleBatches(model, 32, 1);
    assert.ok(batch !== undefined);
    const stem = model.graph.nodes.find(({ opType }) => opType === 'Conv');
    assert.ok(stem !== undefined);
    const probe = copyModel(model);
    probe.graph.outputs = [tensorValue(stem.outputs[0]!, 'float', [null, 16, 28, 28])];
    const values = await outputsOf(probe, batch.feeds);
    const bias = model.graph.initializers.get(stem.inputs[2]!)!.floats();
    const filters = (): number[][] => {
      const values = model.graph.initializers.get(stem.inputs[1]!)!.floats();
      return Array.from({ length: 16 }, (_, i) => [...values.subarray(i * 9, i * 9 + 9)]);
    };
    const norms = filters().map((filter) => Math.hypot(...filter) / Math.SQRT2);
    await restore(model, batch.feeds);
    for (const filter of filters()) assert.ok(Math.abs(Math.hypot(...filter) - Math.SQRT2) < 1e-6);
    const node = model.graph.nodes.find(({ opType }) => opType === 'BatchNormalization')!;
    const [scale, shift, mean, variance] = node.inputs
      .slice(1)
      .map((name) => model.graph.initializers.get(name)!.floats());
    for (let channel = 0; channel < 16; channel += 1) {
      const own = [...values.keys()].filter((i) => Math.floor(i / 784) % 16 === channel).map((i) => values[i]!);
      const expected = own.reduce((sum, value) => sum + value, 0) / own.length;
      const spread = own.reduce((sum, value) => sum + (value - expected) ** 2, 0) / own.length;
      // Sums of 25,088 floats in float32.
      assert.ok(Math.abs(shift![channel]! - expected) < 1e-4);
      const norm = norms[channel]!;
      assert.ok(Math.abs(mean![channel]! * norm - (expected - bias[channel]!)) < 1e-4);
      assert.ok(Math.abs(variance![channel]! * norm ** 2 - spread) < 1e-4 * Math.max(1, spread));
      assert.ok(Math.abs(scale![channel]! - norm * Math.sqrt(spread / norm ** 2 + 1e-5)) < 1e-4);
    }
  });

  it('leaves filters as they are that another node reads, too', async () => {
    const model = await fold(await exampleModel());
    const [batch] = await exampleBatches(model, 32, 1);
    const stem = model.graph.nodes.find(({ opType }) => opType === 'Conv')!;
    const [data = '', weight = ''] = stem.inputs;
    model.graph.nodes.push(makeNode('Conv', [data, weight], ['second']));
    model.graph.outputs.push(tensorValue('second', 'float', [null, 16, 26, 26]));
    const before = [...model.graph.initializers.get(weight)!.floats()];
    await restore(model, batch!.feeds);
    verifyModel(model);
    assert.deepEqual([...model.graph.initializers.get(weight)!.floats()], before);
  });

  it('puts in nothing where normalization is there, or no bias', async () => {
    const model = await exampleModel();
    const [batch] = await exampleBatches(model, 8, 1);
    const bytes = encodeModel(model);
    assert.equal(await restore(model, batch!.feeds), 0);
    assert.deepEqual(encodeModel(model), bytes);
  });
});

describe('train.finetune with restoreBatchNormalization', () => {
  const run = async (model: Model, options: object) => {
    const parsed = trainFinetune.options.parse({ training: TRAINING, ...options });
    const result = await trainFinetune.run(model, parsed, trainingContext(model, DATA));
    verifyModel(model);
    return { details: result.details, last: result.training?.[0]?.epochs.at(-1)?.loss ?? NaN };
  };

  it('trains a folded model, which folds again', async () => {
    const trained = teacherNet(1);
    await run(trained, {});
    const model = await fold(trained);
    const convolutions = count(model, 'Conv');
    const { details, last } = await run(model, { restoreBatchNormalization: true });
    assert.equal(details['restoredBatchNormalizations'], convolutions);
    assert.equal(count(model, 'BatchNormalization'), convolutions);
    const chance = Math.log(3);
    assert.ok(last < 0.9 * chance, String(last));
    const feeds = {
      input: { type: 'float' as const, dims: [1, 1, SIDE, SIDE], data: new Float32Array(SIDE ** 2).fill(0.5) },
    };
    const before = await outputsOf(model, feeds);
    const after = await outputsOf(await fold(model), feeds);
    after.forEach((value, i) => assert.ok(Math.abs(value - before[i]!) < 1e-5));
  });

  it('gives the same bytes for the same seed', async () => {
    const models = [await fold(teacherNet(1)), await fold(teacherNet(1))];
    for (const model of models) await run(model, { restoreBatchNormalization: true });
    assert.deepEqual(encodeModel(models[0]!), encodeModel(models[1]!));
  });
});
