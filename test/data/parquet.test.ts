import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openDataset } from '../../src/data/open-dataset.ts';

const fixtures = join(import.meta.dirname, '../fixtures/data');
const images = JSON.parse(await readFile(join(fixtures, 'images.json'), 'utf8')) as { pixels: number[][] };

// Written by pyarrow in row groups of 4, 4 and 1 rows (test/fixtures/data/make.py).
for (const codec of ['snappy', 'zstd', 'gzip']) {
  describe(`Parquet, ${codec}`, () => {
    it('describes numbers, lists and images', async () => {
      const dataset = await openDataset(join(fixtures, `rows-${codec}.parquet`));
      await dataset.close();
      assert.deepEqual(dataset.info, {
        kind: 'parquet',
        samples: 9,
        arrays: [
          { name: 'label', type: 'int64', shape: [9] },
          { name: 'weight', type: 'float', shape: [9] },
          { name: 'vector', type: 'double', shape: [9, 3] },
          { name: 'matrix', type: 'int32', shape: [9, 2, 2] },
        ],
        classes: ['Bee', 'ant', 'zebra'],
        images: 'images',
        ignoredEntries: 1,
      });
    });

    it('gives batches across row groups', async () => {
      const dataset = await openDataset(join(fixtures, `rows-${codec}.parquet`));
      for (const batchSize of [1, 3, 5, 9, 20]) {
        const read: Record<string, number[]> = {};
        const counts: number[] = [];
        for await (const { count, arrays } of dataset.batches({ batchSize, from: 1 })) {
          counts.push(count);
          for (const [name, { data }] of Object.entries(arrays)) {
            (read[name] ??= []).push(...Array.from<string | number | bigint, number>(data, Number));
          }
        }
        assert.ok(counts.slice(0, -1).every((count) => count === batchSize));
        assert.deepEqual(read['label'], [1, 2, 1, 2, 1, 0, 1, 2]);
        assert.deepEqual(
          read['weight'],
          [1, 2, 3, 4, 5, 6, 7, 8].map((i) => i / 4),
        );
        assert.deepEqual(read['vector']!.slice(0, 6), [1, 1.5, 1.25, 2, 2.5, 2.25]);
        assert.deepEqual(read['matrix']!.slice(-4), [8, 1, 2, 3]);
        const pixels = [...images.pixels, ...images.pixels.slice(0, 3)].slice(1).flat();
        assert.deepEqual(read['images'], pixels);
      }
      await dataset.close();
    });
  });
}

describe('Parquet that cannot be used', () => {
  it('lists of different lengths are named', async () => {
    const dataset = await openDataset(join(fixtures, 'ragged.parquet'));
    await assert.rejects(
      async () => {
        for await (const batch of dataset.batches({ batchSize: 2 })) assert.ok(batch.count);
      },
      { code: 'DATASET_SHAPE', message: /list of 2 in row 0 and of 1 in row 1/ },
    );
    await dataset.close();
  });
});
