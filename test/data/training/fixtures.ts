import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { Dataset } from '../../../src/data/dataset.ts';
import type { Preprocess } from '../../../src/data/image-transform.ts';
import { writeNpz } from '../../../src/data/npz-writer.ts';
import { openDataset } from '../../../src/data/open-dataset.ts';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import type { TrainingBatch } from '../../../src/data/training/training-batch.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import { tensorValue, type ValueInfo } from '../../../src/onnx/value-type.ts';

export const SIDE = 8;

export const PREPROCESS: Preprocess = {
  scale: 1 / 255,
  mean: [0.5, 0.4, 0.3],
  std: [0.2, 0.25, 0.3],
  layout: 'nchw',
  channelOrder: 'rgb',
  resize: null,
};

export const IMAGE_INPUT: ValueInfo = tensorValue('x', 'float', ['N', 3, SIDE, SIDE]);

/** Random images whose first pixel is the sample's index (below 256), and labels index % classes. */
export function images(count: number, classes = 4): Record<string, NdArray> {
  const random = new SeededRandom(3);
  const size = 3 * SIDE * SIDE;
  const data = Uint8Array.from({ length: count * size }, () => random.uint32() & 0xff);
  for (let i = 0; i < count; i += 1) data[i * size] = i & 0xff;
  return {
    images: { type: 'uint8', dims: [count, 3, SIDE, SIDE], data },
    labels: longs(Array.from({ length: count }, (_, i) => i % classes)),
  };
}

export function longs(values: readonly number[]): NdArray {
  return { type: 'int64', dims: [values.length], data: BigInt64Array.from(values, BigInt) };
}

/** Opens data sets in a folder of their own; closes and removes all when the file's tests are over. */
export function makeDatasets(): (
  arrays: Record<string, NdArray>,
  compress?: boolean,
) => Promise<{ dataset: Dataset; path: string }> {
  const open: Dataset[] = [];
  let folder: string | undefined;
  after(async () => {
    for (const dataset of open) await dataset.close();
    if (folder !== undefined) await rm(folder, { recursive: true });
  });
  return async (arrays, compress = false) => {
    folder ??= await mkdtemp(join(tmpdir(), 'tersor-training-'));
    const path = join(folder, `${open.length}.npz`);
    await writeNpz(path, arrays, { compress });
    const dataset = await openDataset(path);
    open.push(dataset);
    return { dataset, path };
  };
}

export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Sample index to the bytes it was fed as. */
export function bySample(batches: readonly TrainingBatch[]): Map<number, string> {
  return new Map(
    batches.flatMap(({ feeds, samples }) => {
      const data = feeds['x']?.data;
      if (!(data instanceof Float32Array)) throw new TypeError('input x is not float');
      const length = data.length / samples.length;
      return [...samples].map((sample, i): [number, string] => [
        sample,
        data.slice(i * length, (i + 1) * length).join(),
      ]);
    }),
  );
}
