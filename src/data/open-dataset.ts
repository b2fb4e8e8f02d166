import { CompressionError } from '../errors.ts';
import type { Dataset, DatasetInfo } from './dataset.ts';
import { DEFAULT_DATA_LIMITS, type DataLimits } from './limits.ts';
import { openImages } from './image-dataset.ts';
import { gunzipToScratch } from './inflate.ts';
import { isNpyMember, openNpy, openNpz } from './npy-dataset.ts';
import { isNpy } from './npy-header.ts';
import { RandomAccessFile } from './random-access-file.ts';
import { isTar, readTarDirectory, type TarMember } from './tar-archive.ts';
import { ZipArchive } from './zip-archive.ts';

const SNIFF_BYTES = 512;

/**
 * Opens a data set; what it is decides its content, not its name. Reads headers only; the caller closes it.
 * @throws CompressionError DATASET_PARSE, DATASET_PICKLE, DATASET_LIMIT, DATASET_EMPTY
 */
export async function openDataset(path: string, limits: Partial<DataLimits> = {}): Promise<Dataset> {
  const file = await RandomAccessFile.open(path);
  return closingOnError(file, () => openByContent(file, { ...DEFAULT_DATA_LIMITS, ...limits }));
}

async function closingOnError(file: RandomAccessFile, open: () => Promise<Dataset>): Promise<Dataset> {
  try {
    return await open();
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
  if (magic === 'PK\x03\x04' || magic === 'PK\x05\x06') return openZip(file, limits);
  if (magic.startsWith('\x1f\x8b')) {
    const scratch = await gunzipToScratch(file, limits);
    await file.close();
    return closingOnError(scratch, () => openTar(scratch, limits));
  }
  if (magic === 'PAR1') {
    // Loaded here so that nobody pays for it who has no Parquet.
    const { openParquet } = await import('./parquet-dataset.ts');
    return openParquet(file, limits);
  }
  if (isTar(head)) return openTar(file, limits);
  throw new CompressionError(
    'DATASET_PARSE',
    `The data set begins with bytes ${Buffer.from(head.subarray(0, 8)).toString('hex')}; expected .npz, .npy, a zip or tar of images in class folders, or Parquet`,
  );
}

async function openZip(file: RandomAccessFile, limits: DataLimits): Promise<Dataset> {
  const archive = await ZipArchive.open(file, limits);
  const { members } = archive;
  if (members.length === 0) throw new CompressionError('DATASET_EMPTY', 'The archive holds no files');
  if (members.every(isNpyMember)) return openNpz(archive, file, limits);
  const array = members.find(isNpyMember);
  if (array !== undefined) {
    const other = members.find((member) => !isNpyMember(member));
    throw new CompressionError(
      'DATASET_PARSE',
      `The zip archive holds arrays (${array.name}) beside other files (${other?.name ?? ''}); upload either a .npz or images in class folders`,
    );
  }
  return openImages({ kind: 'zip-images', members, read: (m) => archive.read(m), close: () => file.close() }, limits);
}

async function openTar(file: RandomAccessFile, limits: DataLimits): Promise<Dataset> {
  const head = await file.read(0, SNIFF_BYTES);
  if (!isTar(head))
    throw new CompressionError('DATASET_PARSE', 'The gzip file does not hold a tar archive of images in class folders');
  const members = await readTarDirectory(file, limits);
  const read = (member: TarMember): Promise<Uint8Array> => file.read(member.dataOffset, member.bytes);
  return openImages({ kind: 'tar-images', members, read, close: () => file.close() }, limits);
}
