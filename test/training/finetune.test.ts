import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TrainingBatch } from '../../src/data/training/training-batch.ts';
import type { TrainingSource } from '../../src/data/training/training-source.ts';
import { TrainingField } from '../../src/schemas/training.ts';
import { finetune, type FinetuneContext } from '../../src/training/finetune.ts';
import { cornerSource, perceptron, runtime } from './helpers.ts';

function contextOf(source: TrainingSource): FinetuneContext {
  return {
    runtime,
    threads: 1,
    seed: 0,
    signal: new AbortController().signal,
    openTraining: () => Promise.resolve(source),
    roles: {},
    checkpoint: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
    progress: () => undefined,
  };
}

const settings = (given: Record<string, unknown>): TrainingField =>
  TrainingField.parse({ epochs: 8, batchSize: 8, learningRate: 0.1, ...given });

/** The labels as float targets, one-hot. */
function oneHot(batch: TrainingBatch): TrainingBatch {
  const data = new Float32Array(8 * 3);
  batch.labels!.data.forEach((label, i) => (data[3 * i + Number(label)] = 1));
  return { ...batch, labels: { type: 'float', dims: [8, 3], data } };
}

describe('finetune', () => {
  it('learns with each loss that goes with the labels', async () => {
    for (const [loss, change] of [
      ['cross-entropy', undefined],
      ['bce', undefined],
      ['mse', oneHot],
      ['bce', oneHot],
    ] as const) {
      const source = cornerSource(change === undefined ? {} : { change });
      const { outcome } = await finetune(
        perceptron(),
        settings({ loss, validation: { fraction: 0 } }),
        contextOf({ ...source, validation: () => undefined }),
      );
      const [first, last] = [outcome.curve[0]!.loss, outcome.curve.at(-1)!.loss];
      assert.ok(last < 0.75 * first, `${loss}: ${first} to ${last}`);
    }
  });

  it('takes mixed labels: soft targets of both', async () => {
    const change = (batch: TrainingBatch): TrainingBatch => ({
      ...batch,
      mixed: { labels: batch.labels!, lambda: { type: 'float', dims: [8], data: new Float32Array(8).fill(0.3) } },
    });
    const plain = await finetune(perceptron(), settings({}), contextOf(cornerSource({})));
    const mixed = await finetune(perceptron(), settings({}), contextOf(cornerSource({ change })));
    // A sample mixed with itself is itself: the same loss, computed from distributions.
    assert.ok(Math.abs(mixed.outcome.curve[0]!.loss - plain.outcome.curve[0]!.loss) < 1e-5);
  });

  it('refuses labels that do not go with the loss or the output, before any step', async () => {
    await assert.rejects(finetune(perceptron(), settings({}), contextOf(cornerSource({ change: oneHot }))), {
      code: 'DATASET_LABELS',
    });
    const wide = (batch: TrainingBatch): TrainingBatch => ({
      ...batch,
      labels: { type: 'float', dims: [8, 2], data: new Float32Array(16) },
    });
    await assert.rejects(finetune(perceptron(), settings({ loss: 'mse' }), contextOf(cornerSource({ change: wide }))), {
      code: 'DATASET_LABELS',
    });
    const bare = ({ labels: _labels, ...batch }: TrainingBatch): TrainingBatch => batch;
    await assert.rejects(finetune(perceptron(), settings({}), contextOf(cornerSource({ change: bare }))), {
      code: 'DATASET_LABELS',
    });
  });

  it('refuses a validation role without data, and says when there is none to choose the best epoch by', async () => {
    await assert.rejects(
      finetune(perceptron(), settings({ validation: { role: 'evaluation' } }), contextOf(cornerSource({}))),
      { code: 'PASS_PRECONDITION' },
    );
    const source = { ...cornerSource({}), validation: () => undefined };
    const { warnings, outcome } = await finetune(
      perceptron(),
      settings({ epochs: 1, validation: { fraction: 0 } }),
      contextOf(source),
    );
    assert.match(warnings.join(), /last epoch is kept/);
    assert.equal(outcome.validation, undefined);
  });
});

describe('the training field', () => {
  it('fills names with their defaults, and takes its own output again', () => {
    const field = TrainingField.parse({ optimizer: 'adamw', schedule: 'step' });
    assert.deepEqual(field.optimizer, { name: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 });
    assert.deepEqual(field.schedule, { name: 'step', milestones: [], every: 30, gamma: 0.1 });
    assert.deepEqual(TrainingField.parse(field), field);
  });

  it('refuses what it does not know', () => {
    for (const wrong of [
      { optimizer: 'lion' },
      { epochs: 0 },
      { typo: 1 },
      { optimizer: { name: 'sgd', beta1: 0.9 } },
    ]) {
      assert.ok(!TrainingField.safeParse(wrong).success, JSON.stringify(wrong));
    }
  });
});
