import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TrainingSource } from '../../src/data/training/training-source.ts';
import type { DivergedAttempt } from '../../src/training/snapshot.ts';
import { LABELS, taskLoss } from '../../src/training/losses/task-loss.ts';
import { decodeSnapshot, encodeSnapshot } from '../../src/training/snapshot-codec.ts';
import { applyTrained } from '../../src/training/trained-values.ts';
import { train, type TrainerSettings, type TrainingOutcome, type TrainingRun } from '../../src/training/trainer.ts';
import { buildTrainingGraph, type TrainingGraphOptions } from '../../src/training/training-graph.ts';
import { cornerSource, perceptron, runtime } from './helpers.ts';

const SGD = { name: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 } as const;

interface Changes {
  readonly settings?: Partial<TrainerSettings>;
  readonly graph?: Partial<TrainingGraphOptions>;
  readonly source?: TrainingSource;
  readonly run?: Partial<TrainingRun>;
}

function runOf(changes: Changes = {}): TrainingRun {
  const { settings, source = cornerSource({}) } = changes;
  const model = perceptron();
  const all: TrainerSettings = {
    epochs: 4,
    learningRate: 0.1,
    schedule: { name: 'cosine', finalRatio: 0 },
    optimizer: SGD,
    accumulate: 1,
    averageDecay: undefined,
    keep: 'last',
    patience: undefined,
    ...settings,
  };
  return {
    model,
    graph: buildTrainingGraph(model, {
      batchSize: source.info.batchSize,
      loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
      optimizer: all.optimizer,
      average: all.averageDecay !== undefined,
      batchNormalization: 'train',
      decayExempt: [],
      accumulate: all.accumulate,
      ...changes.graph,
    }),
    source,
    validation: source.validation(),
    settings: all,
    runtime,
    threads: 1,
    signal: new AbortController().signal,
    feedsOf: (batch) => ({ ...batch.feeds, ...(batch.labels === undefined ? {} : { [LABELS]: batch.labels }) }),
    progress: () => undefined,
    ...changes.run,
  };
}

function weights({ values }: TrainingOutcome): Record<string, number[]> {
  return Object.fromEntries([...values].map(([name, array]) => [name, [...array]]));
}

describe('train', () => {
  it('learns, and puts the weights into the model', async () => {
    const run = runOf({ settings: { epochs: 12 } });
    const outcome = await train(run);
    assert.ok(outcome.curve.at(-1)!.loss < 0.3 * outcome.curve[0]!.loss);
    assert.equal(outcome.validation!.metric, 'top1');
    assert.ok(outcome.validation!.value > 0.9);
    assert.equal(applyTrained(run.model, outcome.values), 4);
    assert.equal(applyTrained(run.model, outcome.values), 0);
    assert.equal(outcome.updates, 12 * 6);
  });

  it('gives the same bytes for the same run', async () => {
    assert.deepEqual(weights(await train(runOf())), weights(await train(runOf())));
  });

  for (const settings of [
    { keep: 'best' as const, averageDecay: 0.9 },
    {
      accumulate: 2,
      optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 } as const,
    },
  ]) {
    it(`goes on from any snapshot to the same bytes: ${JSON.stringify(settings)}`, async () => {
      const snapshots: Uint8Array[] = [];
      const undisturbed = await train(
        runOf({
          settings,
          run: {
            snapshotSeconds: 0,
            save: (snapshot) => Promise.resolve(void snapshots.push(encodeSnapshot(snapshot, 'run'))),
          },
        }),
      );
      assert.equal(snapshots.length, 4 * 6);
      for (const at of [0, 5, 6, 13, 23]) {
        const resume = decodeSnapshot(snapshots[at]!, 'run');
        assert.ok(resume !== undefined);
        const resumed = await train(runOf({ settings, run: { resume } }));
        assert.deepEqual(weights(resumed), weights(undisturbed), `from snapshot ${at}`);
        assert.deepEqual(resumed.resumedAt, [{ epoch: Math.floor(at / 6), step: (at % 6) + 1 }]);
        assert.deepEqual(
          resumed.curve.map(({ loss, validation }) => [loss, validation]),
          undisturbed.curve.map(({ loss, validation }) => [loss, validation]),
        );
      }
    });
  }

  it('says how far it is, how fast, and how long it will take', async () => {
    const messages: string[] = [];
    await train(runOf({ run: { progress: (_, message) => messages.push(message) } }));
    assert.match(
      messages.at(-1)!,
      /^epoch 4 of 4, step 6 of 6, loss \d\.\d{4}, top1 \d\.\d{4}, \d+ samples\/s, 0 s left$/,
    );
  });

  it('takes no snapshot of another run, nor one that is cut short', async () => {
    let bytes = new Uint8Array();
    await train(
      runOf({
        run: {
          snapshotSeconds: 0,
          save: (snapshot) => Promise.resolve(void (bytes = Uint8Array.from(encodeSnapshot(snapshot, 'a')))),
        },
      }),
    );
    assert.equal(decodeSnapshot(bytes, 'b'), undefined);
    assert.equal(decodeSnapshot(bytes.subarray(0, 20), 'a'), undefined);
  });

  it('accumulates: two batches of 4 are one of 8', async () => {
    const whole = await train(runOf({ settings: { epochs: 2 }, source: cornerSource({ batchSize: 8 }) }));
    const halves = await train(
      runOf({ settings: { epochs: 2, accumulate: 2 }, source: cornerSource({ batchSize: 4 }) }),
    );
    assert.equal(halves.updates, whole.updates);
    for (const [name, values] of whole.values) {
      // The same sums in another order: rounding only.
      values.forEach((value, i) => assert.ok(Math.abs(value - halves.values.get(name)![i]!) < 1e-5));
    }
  });

  it('stops when validation gets no better, and keeps the best epoch', async () => {
    const outcome = await train(
      runOf({ settings: { epochs: 50, patience: 2, keep: 'best', schedule: { name: 'constant' } } }),
    );
    assert.ok(outcome.stoppedEarly);
    const values = outcome.curve.map(({ validation }) => validation!.value);
    assert.equal(values[outcome.epoch], Math.max(...values));
    assert.equal(outcome.curve.length, values.indexOf(Math.max(...values)) + 3);
  });

  it('starts again at a tenth of the rate when it diverges, and says so', async () => {
    const outcome = await train(runOf({ settings: { learningRate: 1e30 }, run: {} })).catch((error: unknown) => error);
    assert.equal((outcome as { code?: string }).code, 'TRAIN_DIVERGED');
    // A batch that breaks the first attempt only: the second one has a feed of its own.
    let broken = true;
    const recovered = await train(
      runOf({
        source: cornerSource({
          change: (batch) => {
            if (!broken || batch.step < 3) return batch;
            broken = false;
            return {
              ...batch,
              feeds: { x: { ...batch.feeds['x']!, type: 'float', data: new Float32Array(32).fill(Infinity) } },
            };
          },
        }),
      }),
    );
    assert.equal(recovered.learningRate, 0.1 * 0.1);
    assert.match(recovered.warnings[0]!, /diverged/);
    assert.equal(recovered.divergences.length, 1);
    const [{ learningRate, epoch, step, reason }] = recovered.divergences as [DivergedAttempt];
    assert.deepEqual([learningRate, epoch, step], [0.1, 0, 3]);
    assert.match(reason, /became/);
  });

  it('says that nothing can be trained when not even the first loss is a number', async () => {
    const source = cornerSource({
      change: (batch) => ({
        ...batch,
        feeds: { x: { type: 'float', dims: [8, 4], data: new Float32Array(32).fill(NaN) } },
      }),
    });
    await assert.rejects(train(runOf({ source })), { code: 'TRAIN_DIVERGED', message: /very first batch is NaN/ });
  });

  it('ends within a step when it is cancelled', async () => {
    const controller = new AbortController();
    let batches = 0;
    const source = cornerSource({
      change: (batch) => {
        batches += 1;
        if (batches === 3) setTimeout(() => controller.abort(new Error('canceled')), 0);
        return batch;
      },
    });
    await assert.rejects(
      train(runOf({ source, settings: { epochs: 1000 }, run: { signal: controller.signal } })),
      /canceled/,
    );
    assert.ok(batches < 10, `${batches} batches`);
  });

  it('refuses fewer batches than an update takes', async () => {
    const source = cornerSource({ samples: 16, batchSize: 8 });
    await assert.rejects(train(runOf({ source, settings: { accumulate: 4 } })), { code: 'DATASET_TOO_SMALL' });
  });
});
