import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CompressionError } from '../../../../src/errors.ts';
import type { NdArray } from '../../../../src/onnx/nd-array.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { Tensor } from '../../../../src/onnx/tensor.ts';
import type { FeedSource } from '../../../../src/passes/pass.ts';
import { OutputComparison } from '../../../../src/passes/output-comparison.ts';
import { strongestWithin } from '../../../../src/passes/prune/channels/accuracy-target.ts';
import { ChannelChooser } from '../../../../src/passes/prune/channels/choose-channels.ts';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import { allocateBySensitivity } from '../../../../src/passes/prune/channels/sensitivity.ts';
import type { ChannelGroup } from '../../../../src/passes/prune/groups/channel-groups.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';
import { contextOf, runtime } from '../../quantize/helpers.ts';
import { noiseFeeds } from '../helpers.ts';

/** `size` channels whose root atoms begin at `from`. */
const groupOf = (id: number, from: number, size: number): ChannelGroup => ({
  id,
  roots: Int32Array.from({ length: size }, (_, channel) => from + channel),
  members: [],
  signature: '',
});

describe('allocateBySensitivity', () => {
  /** Loss of each group by the number of its channels that are gone, rising ever faster; all else of no matter. */
  const losses = [
    [0, 1, 3, 7, 20],
    [0, 0.5, 1.5, 9, 30],
    [0, 4, 8, 12, 16],
  ];
  const groups = losses.map((_, index) => groupOf(index, 5 * index, 5));
  const importance = groups.map(() => Float64Array.of(3, 1, 2, 5, 4));
  const run = {
    lossWithout: (roots: readonly number[]) =>
      Promise.resolve(losses[Math.floor((roots[0] ?? 0) / 5)]?.[roots.length] ?? NaN),
    saved: (roots: readonly number[]) => roots.length,
    leastKept: () => 1,
    progress: () => undefined,
  };

  it('finds the least summed loss for every number of channels, as brute force does', async () => {
    const { scores } = await allocateBySensitivity(groups, importance, run);
    const scored = groups.map((group, index) => ({ group, scores: scores[index] }));
    const chooser = new ChannelChooser(scored, { scope: 'global', roundTo: 1, maxRatio: 0.9 });
    for (let gone = 1; gone <= 12; gone += 1) {
      let least = Infinity;
      for (let a = 0; a <= 4; a += 1) {
        for (let b = 0; b <= 4; b += 1) {
          const c = gone - a - b;
          if (c < 0 || c > 4) continue;
          least = Math.min(least, (losses[0]?.[a] ?? 0) + (losses[1]?.[b] ?? 0) + (losses[2]?.[c] ?? 0));
        }
      }
      const kept = chooser.keptCounts(gone / 15);
      const loss = kept.reduce((sum, count, index) => sum + (losses[index]?.[5 - count] ?? NaN), 0);
      assert.equal(loss, least, `${gone} channels gone, ${kept.join(' ')} kept`);
    }
  });

  it('keeps the order of the importance within a group, and channels that are gone', async () => {
    const [first = new Float64Array(0)] = importance;
    const gone = Float64Array.of(-Infinity, 1, 2, Infinity, 4);
    const { scores, sensitivities } = await allocateBySensitivity(groups, [first, gone, undefined], run);
    const order = (values: Float64Array | undefined) =>
      [...(values ?? []).keys()].sort((a, b) => (values?.[a] ?? 0) - (values?.[b] ?? 0));
    assert.deepEqual(order(scores[0]), [1, 2, 0, 4, 3]);
    assert.deepEqual(order(scores[1]), [0, 1, 2, 4, 3]);
    assert.deepEqual([scores[1]?.[0], scores[1]?.[3], scores[2]], [-Infinity, Infinity, undefined]);
    assert.deepEqual(
      sensitivities.map(({ points }) => points.map(({ removedChannels, loss }) => [removedChannels, loss])),
      [
        [
          [1, 1],
          [2, 3],
          [3, 7],
          [4, 20],
        ],
        [
          [1, 0.5],
          [2, 1.5],
          [3, 9],
        ],
      ],
    );
  });

  it('counts loss by what is saved: a group of cheap channels keeps them', async () => {
    const saved = (roots: readonly number[]): number => roots.length * ((roots[0] ?? 0) < 5 ? 1 : 10);
    const same = { ...run, saved, lossWithout: (roots: readonly number[]) => Promise.resolve(roots.length) };
    const { scores } = await allocateBySensitivity(groups.slice(0, 2), importance.slice(0, 2), same);
    // The last channel of a group stays, so it has no price.
    const prices = scores.map((own) => [...(own ?? [])].sort((a, b) => a - b).slice(0, 4));
    assert.ok(Math.min(...(prices[0] ?? [])) > 9 * Math.max(...(prices[1] ?? [])));
  });
});

describe('strongestWithin', () => {
  it('halves towards the largest ratio that keeps the accuracy', async () => {
    const { best, trials } = await strongestWithin(
      0.01,
      (ratio) => Promise.resolve({ plan: ratio, accuracyDrop: ratio <= 0.3 ? 0.005 : 0.02 }),
      () => undefined,
    );
    assert.ok(best !== undefined && best.plan <= 0.3 && best.plan > 0.3 - 2 ** -6);
    assert.equal(trials.length, 7);
    const none = await strongestWithin(
      0,
      (ratio) => Promise.resolve({ plan: ratio, accuracyDrop: 1 }),
      () => undefined,
    );
    assert.equal(none.best, undefined);
  });
});

describe('prune.channels by measured loss', () => {
  async function scoresOf(model: Model): Promise<Float32Array[]> {
    const session = await runtime.createSession(model, { threads: 1 });
    const scores: Float32Array[] = [];
    for (const batch of feedsOf(model)) {
      const [first] = (await session.run(batch)).values();
      for (let row = 0; row < 16; row += 1) scores.push((first?.data as Float32Array).slice(10 * row, 10 * row + 10));
    }
    await session.release();
    return scores;
  }

  const feedsOf = (model: Model) => [1, 2, 3, 4].map((seed) => noiseFeeds(model, seed, 16));

  /** With fresh weights one class would win always: the means of the scores are taken away. */
  async function resnet8(): Promise<Model> {
    const model = buildArchitecture({ architecture: 'resnet', depth: 8, shortcut: 'pad' }, 3);
    const scores = await scoresOf(model);
    const [bias = ''] = model.graph.nodes.at(-1)?.inputs.slice(2) ?? [];
    const before = model.graph.initializers.get(bias)?.floats() ?? new Float32Array(0);
    assert.equal(before.length, 10);
    const balanced = before.map(
      (value, label) => value - scores.reduce((sum, own) => sum + (own[label] ?? 0), 0) / scores.length,
    );
    model.graph.initializers.set(bias, Tensor.float(bias, balanced));
    return model;
  }

  /** Noise, with the classes that the model itself gives as labels, or none. */
  async function data(model: Model, isLabelled: boolean): Promise<FeedSource> {
    const classes = (await scoresOf(model)).map((own) => own.indexOf(Math.max(...own)));
    const feeds = feedsOf(model);
    const labels = feeds.map((_, batch): NdArray => ({
      type: 'int64',
      dims: [16],
      data: BigInt64Array.from(classes.slice(16 * batch, 16 * batch + 16), BigInt),
    }));
    return {
      samples: 64,
      async *batches() {
        for (const [index, batch] of feeds.entries()) {
          const own = labels[index];
          yield await Promise.resolve({
            feeds: batch,
            count: 16,
            ...(isLabelled && own !== undefined ? { labels: own } : {}),
          });
        }
      },
    };
  }

  async function prune(options: object, isLabelled = true) {
    const model = await resnet8();
    const context = contextOf(await data(model, isLabelled));
    const comparison = await OutputComparison.create(await resnet8(), await data(model, isLabelled), context);
    const { details, changes } = await pruneChannels.run(model, pruneChannels.options.parse(options), context);
    return { details, changes, change: await comparison.compare(model) };
  }

  it('loses less of the outputs than ranking does, for the same work', async () => {
    const byScore = await prune({ macsRatio: 0.5 });
    const bySensitivity = await prune({ macsRatio: 0.5, allocation: 'sensitivity' });
    assert.ok(bySensitivity.change.error < byScore.change.error);
    const macs = bySensitivity.details['macs'] as { share: number };
    assert.ok(macs.share <= 0.5 && macs.share > 0.45);
    const measured = bySensitivity.details['sensitivities'] as { group: string; points: { loss: number }[] }[];
    assert.ok(measured.length > 3 && measured.every(({ points }) => points.length === 4));
    const again = await prune({ macsRatio: 0.5, allocation: 'sensitivity' });
    assert.deepEqual(again.details, bySensitivity.details);
  });

  it('goes by the probabilities of the classes, and moves them less, where that is asked', async () => {
    const byOutput = await prune({ macsRatio: 0.5, allocation: 'sensitivity' });
    const byClasses = await prune({ macsRatio: 0.5, allocation: 'sensitivity', sensitivity: 'kl' });
    assert.ok(byClasses.change.divergence! > 0);
    assert.ok(byClasses.change.divergence! < byOutput.change.divergence!);
  });

  it('removes as much as the accuracy allows', async () => {
    const { details, changes, change } = await prune({ maxAccuracyDrop: 0.2, recover: 'least-squares' });
    assert.ok(changes > 0 && change.accuracyDrop <= 0.2);
    const target = details['accuracyTarget'] as { measuredAccuracyDrop: number; trials: { accuracyDrop: number }[] };
    assert.equal(target.measuredAccuracyDrop, change.accuracyDrop);
    assert.ok(target.trials.some(({ accuracyDrop }) => accuracyDrop > 0.2));
    assert.deepEqual(pruneChannels.needs(pruneChannels.options.parse({ maxAccuracyDrop: 0.2 })), ['calibration']);
  });

  it('refuses what cannot be measured', async () => {
    const refused = (error: CompressionError) => error.code === 'PASS_PRECONDITION' && error.message.includes('labels');
    await assert.rejects(prune({ maxAccuracyDrop: 0.2 }, false), refused);
    await assert.rejects(prune({ allocation: 'sensitivity', sensitivity: 'metric' }, false), refused);
    const issue = (options: object) => pruneChannels.options.safeParse(options).error?.issues[0]?.path[0];
    assert.equal(issue({ allocation: 'sensitivity', scope: 'local' }), 'scope');
    assert.equal(issue({ maxAccuracyDrop: 0.1, steps: 2 }), 'maxAccuracyDrop');
    assert.equal(issue({ maxAccuracyDrop: 0.1, macsRatio: 0.5 }), 'macsRatio');
  });
});
