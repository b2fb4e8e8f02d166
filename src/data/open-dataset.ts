import { CompressionError } from '../errors.ts';
import type { Dataset, DatasetInfo } from './dataset.ts';
import { DEFAULT_DATA_LIMITS, type DataLimits } from './limits.ts';
import { isNpyMember, openNpy, openNpz } from './npy-dataset.ts';
import { isNpy } from './npy-header.ts';
import { RandomAccessFile } from './random-access-file.ts';
import { ZipArchive } from './zip-archive.ts';

const SNIFF_BYTES = 512;

/**
 * Opens a data set; what it is decides its content, not its name. Reads headers only; the caller closes it.
 * @throws CompressionError DATASET_PARSE, DATASET_PICKLE, DATASET_LIMIT, DATASET_EMPTY
 */
export async function openDataset(path: string, limits: Partial<DataLimits> = {}): Promise<Dataset> {
  const file = await RandomAccessFile.open(path);
  try {
    return await openByContent(file, { ...DEFAULT_DATA_LIMITS, ...limits });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** What a data set is, from its headers. @throws as openDataset */
export async function describeDataset(path: string, limits: Partial<DataLimits> = {}): Promise<DatasetInfo> {
  const dataset = await openDataset(path, limits);
  try {
    return dataset.info;
  } finally {
    await dataset.close();
  }
}

async function openByContent(file: RandomAccessFile, limits: DataLimits): Promise<Dataset> {
  const head = await file.read(0, SNIFF_BYTES);
  if (head.length === 0) throw new CompressionError('DATASET_EMPTY', 'The data set is an empty file');
  if (isNpy(head)) return openNpy(file, limits);
  const magic = Buffer.from(head.buffer, head.byteOffset, Math.min(4, head.length)).toString('latin1');
  if (magic === 'PK\x03\x04' || magic === 'PK\x05\x06') {
    const archive = await ZipArchive.open(file, limits);
    if (archive.members.length === 0) throw new CompressionError('DATASET_EMPTY', 'The archive holds no files');
    if (archive.members.every(isNpyMember)) return openNpz(archive, file, limits);
  }
  throw new CompressionError(
    'DATASET_PARSE',
    `The data set begins with bytes ${Buffer.from(head.subarray(0, 8)).toString('hex')}; expected .npz, .npy, a zip or tar of images in class folders, or Parquet`,
  );
}
