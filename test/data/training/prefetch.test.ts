import assert from 'node:assert/strict';
import { rm, truncate } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { openPrefetchedSource, type PrefetchOptions } from '../../../src/data/training/prefetch.ts';
import { openTrainingSource } from '../../../src/data/training/training-source.ts';
import { CompressionError } from '../../../src/errors.ts';
import { collect, IMAGE_INPUT, images, longs, makeDatasets, PREPROCESS } from './fixtures.ts';

const make = makeDatasets();
const OPTIONS = {
  batchSize: 16,
  seed: 11,
  augment: ['crop4', 'flip', 'cutmix'],
  validationFraction: 0.2,
  labels: 'class',
  classes: 4,
} satisfies PrefetchOptions['options'];
const BASE = {
  role: { role: 'training', preprocess: PREPROCESS },
  modelInputs: [IMAGE_INPUT],
  options: OPTIONS,
} as const;

describe('openPrefetchedSource', () => {
  it('gives the batches of the plain source, jumps and validation too', { timeout: 60_000 }, async () => {
    for (const memoryBudgetBytes of [undefined, 10_000]) {
      const { dataset, path } = await make(images(150), true);
      const options = { ...OPTIONS, memoryBudgetBytes };
      const plain = await openTrainingSource(dataset, BASE.role, BASE.modelInputs, options);
      const ahead = await openPrefetchedSource({ ...BASE, path, options, depth: 2 });
      assert.deepEqual(ahead.info, plain.info);
      const expected = await collect(plain.epoch(0));
      assert.deepEqual(await collect(ahead.epoch(0)), expected);
      assert.deepEqual(await collect(ahead.epoch(4, 3)), await collect(plain.epoch(4, 3)));
      const validation = await collect(plain.validation(true)!.batches());
      assert.deepEqual(await collect(ahead.validation(true)!.batches()), validation);
      // Left in the middle, and started anew.
      for await (const batch of ahead.epoch(0)) {
        assert.deepEqual(batch, expected[0]);
        break;
      }
      assert.deepEqual(await collect(ahead.epoch(0)), expected);
      // Two at once.
      assert.deepEqual(await Promise.all([collect(ahead.epoch(0)), collect(ahead.epoch(0))]), [expected, expected]);
      await ahead.close();
      await plain.close();
      await assert.rejects(collect(ahead.epoch(1)), /ended with exit code/);
    }
  });

  it('closes in the middle of an epoch', { timeout: 60_000 }, async () => {
    const { path } = await make(images(150));
    const ahead = await openPrefetchedSource({ ...BASE, path });
    const iterator = ahead.epoch(0)[Symbol.asyncIterator]();
    await iterator.next();
    await ahead.close();
    // What was ready comes still; then the end of the thread is an error, not a wait without end.
    await assert.rejects(async () => {
      while ((await iterator.next()).done !== true);
    }, CompressionError);
  });

  it('passes errors on, of opening and of reading', { timeout: 60_000 }, async () => {
    const { path } = await make({ ...images(150), labels: longs(new Array<number>(150).fill(9)) });
    await assert.rejects(openPrefetchedSource({ ...BASE, path }), (error) => {
      assert.ok(error instanceof CompressionError);
      assert.equal(error.code, 'DATASET_LABELS');
      assert.match(error.message, /Label of sample 0 in labels is 9/);
      return true;
    });
    const long = await make(images(2000));
    const streamed = { ...OPTIONS, memoryBudgetBytes: 10_000 };
    const ahead = await openPrefetchedSource({ ...BASE, path: long.path, options: streamed });
    await truncate(long.path, 30_000);
    await assert.rejects(
      collect(ahead.epoch(0)),
      (error) => error instanceof CompressionError && error.code === 'DATASET_PARSE',
    );
    await ahead.close();
    await rm(long.path);
  });
});
