import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Batch, BatchOptions } from '../../src/data/dataset.ts';
import { resizePixels } from '../../src/data/image-resize.ts';
import { sortIntoClasses } from '../../src/data/image-folders.ts';
import { describeDataset, openDataset } from '../../src/data/open-dataset.ts';

const fixtures = join(import.meta.dirname, '../fixtures/data');
const readJson = async <T>(name: string): Promise<T> => JSON.parse(await readFile(join(fixtures, name), 'utf8')) as T;
const images = await readJson<{ names: string[]; labels: number[]; pixels: number[][] }>('images.json');

async function batchesOf(name: string, options: BatchOptions): Promise<Batch[]> {
  const dataset = await openDataset(join(fixtures, name));
  try {
    const batches: Batch[] = [];
    for await (const batch of dataset.batches(options)) batches.push(batch);
    return batches;
  } finally {
    await dataset.close();
  }
}

const numbers = (batches: Batch[], name: string): number[] =>
  batches.flatMap((batch) => Array.from<string | number | bigint, number>(batch.arrays[name]!.data, Number));

for (const name of ['images.zip', 'images.tar', 'images.tar.gz']) {
  describe(`image folders in ${name}`, () => {
    it('are classes in byte order', async () => {
      assert.deepEqual(await describeDataset(join(fixtures, name)), {
        kind: name.endsWith('zip') ? 'zip-images' : 'tar-images',
        samples: 6,
        classes: ['Bee', 'ant', 'zebra'],
        images: 'images',
        ignoredEntries: 2,
      });
    });

    it('give the pixels and labels that were packed, a class in turn', async () => {
      for (const batchSize of [1, 4, 100]) {
        const batches = await batchesOf(name, { batchSize });
        assert.deepEqual(numbers(batches, 'labels'), images.labels);
        assert.deepEqual(numbers(batches, 'images'), images.pixels.flat());
        assert.deepEqual(batches[0]!.arrays['images']!.dims, [Math.min(batchSize, 6), 4, 5, 3]);
      }
    });

    it('start anywhere, in grey, resized', async () => {
      const request = { channels: 1, resize: { height: 2, width: 3, fit: 'fill' } } as const;
      const batches = await batchesOf(name, { from: 2, to: 5, batchSize: 2, images: request });
      assert.deepEqual(
        batches.map(({ from, count }) => [from, count]),
        [
          [2, 2],
          [4, 1],
        ],
      );
      assert.deepEqual(batches[0]!.arrays['images']!.dims, [2, 2, 3, 1]);
    });
  });
}

describe('resizing', () => {
  it('is what Pillow does with its bilinear filter', async () => {
    const { pixels, resized } = await readJson<{ pixels: number[]; resized: Record<string, number[]> }>('resize.json');
    const source = { height: 12, width: 12, channels: 3, data: Uint8Array.from(pixels) };
    // Pillow's weights are fixed-point numbers of 22 bits: ties may round the other way.
    for (const [side, expected] of Object.entries(resized)) {
      const result = resizePixels(source, { height: Number(side), width: Number(side), fit: 'fill' });
      const worst = Math.max(...expected.map((pixel, i) => Math.abs(pixel - result.data[i]!)));
      assert.ok(worst <= 1, `${side}: off by ${worst}`);
    }
  });

  it('keeps grey grey', () => {
    const result = resizePixels(
      { height: 2, width: 2, channels: 1, data: Uint8Array.of(9, 9, 9, 9) },
      { height: 4, width: 4, fit: 'fill' },
    );
    assert.deepEqual([...result.data], new Array(16).fill(9));
  });
});

describe('fitting', () => {
  // One row of four pixels to 1x2 and 2x2: by hand.
  const source = { height: 1, width: 4, channels: 1, data: Uint8Array.of(10, 20, 30, 40) };
  const fit = (mode: 'fill' | 'cover' | 'contain', height: number, width: number): number[] => [
    ...resizePixels(source, { height, width, fit: mode }).data,
  ];

  it('cover cuts the middle out', () => {
    assert.deepEqual(fit('cover', 1, 2), [20, 30]);
  });

  it('contain puts the whole on black', () => {
    // 4x1 fits into 4x3 unscaled: a line in the middle.
    assert.deepEqual(fit('contain', 3, 4), [0, 0, 0, 0, 10, 20, 30, 40, 0, 0, 0, 0]);
  });

  it('fill distorts', () => {
    // Halving: triangle of radius 2 around 1 (10, 20, 30 weigh 0.75, 0.75, 0.25 of 1.75) and, mirrored, around 3.
    assert.deepEqual(fit('fill', 1, 2), [
      Math.floor((7.5 + 15 + 7.5) / 1.75 + 0.5),
      Math.floor((30 + 22.5 + 5) / 1.75 + 0.5),
    ]);
  });
});

describe('sortIntoClasses', () => {
  const sort = (...names: string[]) => sortIntoClasses(names.map((name) => ({ name })));

  it('counts what it leaves out', () => {
    const { images: found, ignoredEntries } = sort('a/1.png', 'LICENSE', 'a/.2.png', 'a/Thumbs.db', '__MACOSX/a/1.png');
    assert.equal(found.length, 1);
    assert.equal(ignoredEntries, 4);
  });

  for (const [what, names, code] of [
    ['images in no folder', ['1.png'], 'DATASET_PARSE'],
    ['one class in two folders', ['train/cat/1.png', 'test/cat/2.png'], 'DATASET_PARSE'],
    ['classes at different depths', ['cat/1.png', 'animals/dog/2.png'], 'DATASET_PARSE'],
    ['no image at all', ['readme.txt'], 'DATASET_EMPTY'],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => sort(...names), { code });
    });
  }
});
