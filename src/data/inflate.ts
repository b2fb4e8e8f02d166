import { randomUUID } from 'node:crypto';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { crc32, createInflateRaw } from 'node:zlib';
import { CompressionError, messageOf } from '../errors.ts';
import { RATIO_FREE_BYTES, type DataLimits } from './limits.ts';
import { RandomAccessFile } from './random-access-file.ts';

const GZIP_TRAILER_BYTES = 8;
const MAX_GZIP_HEADER_BYTES = 64 * 1024;

/**
 * Raw deflate data to bytes. Ends with the deflate stream, whatever follows it; `onEnd` is told how many of the packed
 * bytes belonged to it.
 */
export async function* inflateStream(
  packed: AsyncIterable<Uint8Array>,
  what: string,
  onEnd?: (packedBytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const inflate = createInflateRaw({ chunkSize: 256 * 1024 });
  // Errors of either side arrive at the loop below, because pipeline destroys `inflate` with them.
  pipeline(Readable.from(packed, { objectMode: false }), inflate, () => undefined);
  try {
    for await (const chunk of inflate) {
      if (chunk instanceof Uint8Array) yield chunk;
    }
    onEnd?.(inflate.bytesWritten);
  } catch (error) {
    if (error instanceof CompressionError) throw error;
    throw new CompressionError('DATASET_PARSE', `${what} does not decompress: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Unpacks a gzip file to a file without a name (removed as soon as it is open; closing it frees the space).
 * One member, complete, with nothing behind it.
 * @throws CompressionError DATASET_PARSE, DATASET_LIMIT
 */
export async function gunzipToScratch(file: RandomAccessFile, limits: DataLimits): Promise<RandomAccessFile> {
  const start = gzipHeaderLength(await file.read(0, MAX_GZIP_HEADER_BYTES));
  const path = join(limits.scratchFolder, `tersor-${randomUUID()}`);
  const scratch = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
    let bytes = 0;
    let crc = 0;
    let end = 0;
    const unpacked = inflateStream(file.stream(start, file.size), 'The gzip file', (packed) => (end = start + packed));
    for await (const chunk of unpacked) {
      bytes += chunk.length;
      refuseTooMuch(bytes, file.size, limits);
      crc = crc32(chunk, crc);
      for (let done = 0; done < chunk.length;) done += (await scratch.write(chunk, done)).bytesWritten;
    }
    checkTrailer(await file.read(end, GZIP_TRAILER_BYTES), bytes, crc);
    if (end + GZIP_TRAILER_BYTES !== file.size) {
      throw new CompressionError(
        'DATASET_PARSE',
        `The gzip file has ${file.size - end - GZIP_TRAILER_BYTES} bytes behind its end (another member, or garbage); compress it as one`,
      );
    }
    return await RandomAccessFile.of(scratch);
  } catch (error) {
    await scratch.close().catch(() => undefined);
    throw error;
  }
}

function refuseTooMuch(bytes: number, packedBytes: number, limits: DataLimits): void {
  if (bytes > limits.maxBytes) {
    throw new CompressionError('DATASET_LIMIT', `The archive decompresses to more than ${limits.maxBytes} bytes`);
  }
  if (bytes > RATIO_FREE_BYTES && bytes > limits.maxRatio * packedBytes) {
    throw new CompressionError(
      'DATASET_LIMIT',
      `The archive has ${packedBytes} bytes and decompresses to more than ${limits.maxRatio} times as many; such archives are refused`,
    );
  }
}

function checkTrailer(trailer: Uint8Array, bytes: number, crc: number): void {
  if (trailer.length < GZIP_TRAILER_BYTES)
    throw new CompressionError('DATASET_PARSE', 'The gzip file is cut short; upload it again');
  const view = new DataView(trailer.buffer, trailer.byteOffset, trailer.byteLength);
  if (view.getUint32(0, true) !== crc || view.getUint32(4, true) !== bytes % 2 ** 32) {
    throw new CompressionError('DATASET_PARSE', 'The gzip file fails its checksum; it is damaged: upload it again');
  }
}

/** RFC 1952, section 2.3. */
function gzipHeaderLength(head: Uint8Array): number {
  const broken = new CompressionError('DATASET_PARSE', 'The gzip header is broken or too long');
  const flags = head[3] ?? 0;
  if (head.length < 18 || head[2] !== 8 || (flags & 0xe0) !== 0) throw broken;
  let at = 10;
  if ((flags & 4) !== 0) at += 2 + (head[at] ?? 0) + 256 * (head[at + 1] ?? 0);
  for (const flag of [8, 16]) {
    if ((flags & flag) === 0) continue;
    const end = head.indexOf(0, at);
    if (end < 0) throw broken;
    at = end + 1;
  }
  if ((flags & 2) !== 0) at += 2;
  if (at >= head.length) throw broken;
  return at;
}
