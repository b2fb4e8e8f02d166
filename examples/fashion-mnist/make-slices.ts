/**
 * Makes calibration.npz and evaluation.npz from Fashion-MNIST. Needs the training and the test set as .npz files with
 * `images` (uint8, [N, 1, 28, 28]) and `labels` (int64, [N]) in the original order:
 *
 *   npx tsx examples/fashion-mnist/make-slices.ts fashion-mnist-train.npz fashion-mnist-test.npz
 *
 * The same sources give the same bytes on the same version of zlib.
 */
import { join } from 'node:path';
import { openDataset } from '../../src/data/open-dataset.ts';
import { writeNpz } from '../../src/data/npz-writer.ts';
import { elementCount, type NdArray } from '../../src/onnx/nd-array.ts';

const CALIBRATION_SAMPLES = 512;
const EVALUATION_SAMPLES = 2000;

async function firstSamples(path: string, samples: number): Promise<Readonly<Record<string, NdArray>>> {
  const dataset = await openDataset(path);
  try {
    for await (const batch of dataset.batches({ to: samples, batchSize: samples, names: ['images', 'labels'] })) {
      if (batch.count === samples) return batch.arrays;
    }
  } finally {
    await dataset.close();
  }
  throw new Error(`${path} has fewer than ${samples} samples`);
}

const [trainPath, testPath] = process.argv.slice(2);
if (trainPath === undefined || testPath === undefined) {
  console.error('usage: make-slices.ts <fashion-mnist-train.npz> <fashion-mnist-test.npz>');
  process.exit(2);
}
for (const [source, samples, name] of [
  [trainPath, CALIBRATION_SAMPLES, 'calibration.npz'],
  [testPath, EVALUATION_SAMPLES, 'evaluation.npz'],
] as const) {
  const arrays = await firstSamples(source, samples);
  await writeNpz(join(import.meta.dirname, name), arrays);
  for (const [array, { type, dims }] of Object.entries(arrays)) {
    console.log(`${name}: ${array} ${type} [${dims.join(', ')}], ${elementCount(dims)} values`);
  }
}
