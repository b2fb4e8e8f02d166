import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import type { Model } from '../../src/onnx/model.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { recalibrateNormalization } from '../../src/training/recalibrate-normalization.ts';
import { runtime } from './helpers.ts';

function chain(): Model {
  const b = new GraphBuilder('chain');
  const vector = (name: string, values: readonly number[]): string => b.initializer(Tensor.float(name, values));
  let x = b.input('x', 'float', ['batch', 2]);
  for (const name of ['one', 'two']) {
    const scale = vector(`${name}.scale`, [2, 3]);
    const bias = vector(`${name}.bias`, [1, -1]);
    const statistics = [vector(`${name}.mean`, [9, 9]), vector(`${name}.var`, [9, 9])];
    x = b.op('BatchNormalization', [x, scale, bias, ...statistics], { name, attributes: { epsilon: { float: 0 } } });
  }
  b.output(x, 'y', 'float', ['batch', 2]);
  return b.model(21);
}

const values = (model: Model, name: string): number[] => [...(model.graph.initializers.get(name)?.floats() ?? [])];
const feeds = (data: readonly number[]) => ({
  x: { type: 'float' as const, dims: [data.length / 2, 2], data: Float32Array.from(data) },
});
const run = { runtime, threads: 1, signal: new AbortController().signal };

describe('recalibrateNormalization', () => {
  it('takes mean and variance over all batches, of what each layer is given', async () => {
    const model = chain();
    const batches = [feeds([0, 10, 2, 14]), feeds([4, 20, 10, 20])];
    assert.equal(await recalibrateNormalization(model, { ...run, batches }), 2);
    // Channel 0: batches {0, 2} and {4, 10}: means 1 and 7, variances 1 and 9; together mean 4, variance 5 + 9.
    // Channel 1: {10, 14} and {20, 20}: means 12 and 20, variances 4 and 0; together mean 16, variance 2 + 16.
    assert.deepEqual(values(model, 'one.mean'), [4, 16]);
    assert.deepEqual(values(model, 'one.var'), [14, 18]);
    // Behind it each batch has mean = bias and variance = scale², but for the one without variance.
    assert.ok(Math.abs((values(model, 'two.mean')[0] ?? 0) - 1) < 1e-6);
    assert.ok(Math.abs((values(model, 'two.var')[0] ?? 0) - 4) < 1e-5);
    assert.deepEqual(values(model, 'one.scale'), [2, 3]);
  });

  it('leaves a model without normalization alone, and needs a batch for one with it', async () => {
    const b = new GraphBuilder('plain');
    b.output(b.op('Relu', [b.input('x', 'float', ['batch', 2])]), 'y', 'float', ['batch', 2]);
    assert.equal(await recalibrateNormalization(b.model(21), { ...run, batches: [] }), 0);
    await assert.rejects(recalibrateNormalization(chain(), { ...run, batches: [] }), { code: 'DATASET_EMPTY' });
  });
});
