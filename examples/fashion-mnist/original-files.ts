import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { NdArray } from '../../src/onnx/nd-array.ts';

const unzip = promisify(gunzip);
const IMAGES = 'train-images-idx3-ubyte.gz';
const LABELS = 'train-labels-idx1-ubyte.gz';

/**
 * The training set from the two files that Fashion-MNIST is given out as (IDX, http://yann.lecun.com/exdb/mnist/).
 *
 * @returns `images` uint8 [N, 1, 28, 28] and `labels` int64 [N], in their order
 */
export async function readOriginalFiles(folder: string): Promise<Readonly<Record<string, NdArray>>> {
  const images = await readIdx(join(folder, IMAGES), 3);
  const labels = await readIdx(join(folder, LABELS), 1);
  const [count = 0, height = 0, width = 0] = images.dims;
  if (labels.dims[0] !== count) throw new Error(`${count} images, but ${labels.dims[0] ?? 0} labels`);
  return {
    images: { type: 'uint8', dims: [count, 1, height, width], data: images.data },
    labels: { type: 'int64', dims: [count], data: BigInt64Array.from(labels.data, BigInt) },
  };
}

/** IDX of unsigned bytes: 0, 0, 8, number of axes; each axis as a big-endian uint32; the bytes. */
async function readIdx(path: string, axes: number): Promise<{ dims: number[]; data: Uint8Array }> {
  const bytes = await unzip(await readFile(path));
  if (bytes.readUInt32BE(0) !== 0x800 + axes) throw new Error(`${path} is no IDX file of bytes with ${axes} axes`);
  const dims = Array.from({ length: axes }, (_, axis) => bytes.readUInt32BE(4 + 4 * axis));
  const data = new Uint8Array(bytes.subarray(4 + 4 * axes));
  const expected = dims.reduce((product, size) => product * size, 1);
  if (data.length !== expected) throw new Error(`${path} holds ${data.length} values, its header says ${expected}`);
  return { dims, data };
}
