import { crc32, inflateRaw } from 'node:zlib';
import { promisify } from 'node:util';
import { fromFdPromise, type Entry, type ZipFile } from 'yauzl';
import { CompressionError, messageOf } from '../errors.ts';
import { EntryNames } from './entry-names.ts';
import { inflateStream } from './inflate.ts';
import { RATIO_FREE_BYTES, type DataLimits } from './limits.ts';
import type { RandomAccessFile } from './random-access-file.ts';

const inflateRawAll = promisify(inflateRaw);
const LOCAL_HEADER_BYTES = 30;
const UNIX_TYPE_MASK = 0o170000;
const UNIX_REGULAR = 0o100000;
const UNIX_DIRECTORY = 0o040000;

export interface ZipMember {
  readonly name: string;
  readonly stored: boolean;
  readonly compressedBytes: number;
  readonly bytes: number;
  readonly crc: number;
  /** Where the member's data begin in the file. */
  readonly dataOffset: number;
}

/**
 * A zip file read defensively: the central directory is checked whole before any data are touched (names, kinds, sizes,
 * overlaps, limits), and each member's length and CRC-32 when it is read. Nothing is ever written to disk.
 */
export class ZipArchive {
  readonly members: readonly ZipMember[];
  readonly #file: RandomAccessFile;

  private constructor(file: RandomAccessFile, members: readonly ZipMember[]) {
    this.#file = file;
    this.members = members;
  }

  /** @throws CompressionError DATASET_PARSE, DATASET_LIMIT */
  static async open(file: RandomAccessFile, limits: DataLimits): Promise<ZipArchive> {
    try {
      const zip = await fromFdPromise(file.fd, { autoClose: false, lazyEntries: true, strictFileNames: true });
      return new ZipArchive(file, await readDirectory(zip, file, limits));
    } catch (error) {
      if (error instanceof CompressionError) throw error;
      throw new CompressionError('DATASET_PARSE', `The zip archive is broken: ${messageOf(error)}`, { cause: error });
    }
  }

  /** The member's bytes, decompressed; length and checksum are checked. For members that fit in memory. */
  async read(member: ZipMember): Promise<Uint8Array> {
    const packed = await this.#file.read(member.dataOffset, member.compressedBytes);
    let bytes: Uint8Array = packed;
    if (!member.stored) {
      try {
        // One byte of room beyond what is promised, so that a longer member is found out and cannot fill the memory.
        bytes = await inflateRawAll(packed, { maxOutputLength: member.bytes + 1 });
      } catch (error) {
        throw new CompressionError(
          'DATASET_PARSE',
          `Zip member ${member.name} does not decompress: ${messageOf(error)}`,
          {
            cause: error,
          },
        );
      }
    }
    checkMember(member, bytes.length, crc32(bytes));
    return bytes;
  }

  /** The member's bytes as a stream; the reader checks length and checksum with `checkMember` when it gets to the end. */
  stream(member: ZipMember): AsyncIterable<Uint8Array> {
    const packed = this.#file.stream(member.dataOffset, member.dataOffset + member.compressedBytes);
    return member.stored ? packed : inflateStream(packed, `Zip member ${member.name}`);
  }
}

/** @throws CompressionError DATASET_PARSE when what came out of a member is not what the directory promises */
export function checkMember(member: ZipMember, bytes: number, crc: number): void {
  if (bytes !== member.bytes) {
    throw new CompressionError(
      'DATASET_PARSE',
      `Zip member ${member.name} holds ${bytes > member.bytes ? 'more' : 'fewer'} bytes than the ${member.bytes} the directory says; the archive is broken`,
    );
  }
  if (crc !== member.crc) {
    throw new CompressionError(
      'DATASET_PARSE',
      `Zip member ${member.name} fails its CRC-32; the archive is damaged: upload it again`,
    );
  }
}

async function readDirectory(zip: ZipFile, file: RandomAccessFile, limits: DataLimits): Promise<ZipMember[]> {
  if (zip.entryCount > limits.maxEntries) {
    throw new CompressionError(
      'DATASET_LIMIT',
      `The archive has ${zip.entryCount} entries, at most ${limits.maxEntries} are read`,
    );
  }
  const names = new EntryNames();
  const members: ZipMember[] = [];
  const extents: { name: string; start: number; end: number }[] = [];
  let total = 0;
  for await (const entry of zip.eachEntry()) {
    names.add(entry.fileName);
    checkKind(entry);
    total += entry.uncompressedSize;
    if (total > limits.maxBytes) {
      throw new CompressionError(
        'DATASET_LIMIT',
        `The archive decompresses to more than ${limits.maxBytes} bytes (at ${entry.fileName})`,
      );
    }
    const dataOffset = await checkLocalHeader(entry, file);
    extents.push({
      name: entry.fileName,
      start: entry.relativeOffsetOfLocalHeader,
      end: dataOffset + entry.compressedSize,
    });
    if (entry.fileName.endsWith('/')) continue;
    members.push({
      name: entry.fileName,
      stored: entry.compressionMethod === 0,
      compressedBytes: entry.compressedSize,
      bytes: entry.uncompressedSize,
      crc: entry.crc32,
      dataOffset,
    });
  }
  if (total > RATIO_FREE_BYTES && total > limits.maxRatio * file.size) {
    throw new CompressionError(
      'DATASET_LIMIT',
      `The archive has ${file.size} bytes and decompresses to ${total}: more than ${limits.maxRatio} times as many are refused`,
    );
  }
  refuseOverlaps(extents);
  return members;
}

function checkKind(entry: Entry): void {
  if (entry.isEncrypted()) {
    throw new CompressionError(
      'DATASET_PARSE',
      `Zip member ${entry.fileName} is encrypted; upload an archive without a password`,
    );
  }
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
    throw new CompressionError(
      'DATASET_PARSE',
      `Zip member ${entry.fileName} has compression method ${entry.compressionMethod}; expected 0 (stored) or 8 (deflate): pack it again`,
    );
  }
  // Only archivers on Unix (3) or macOS (19) write a file mode.
  const system = entry.versionMadeBy >>> 8;
  const type = (entry.externalFileAttributes >>> 16) & UNIX_TYPE_MASK;
  if ((system === 3 || system === 19) && type !== 0 && type !== UNIX_REGULAR && type !== UNIX_DIRECTORY) {
    throw new CompressionError(
      'DATASET_PARSE',
      `Zip member ${entry.fileName} is a link or a device; only files and folders are read`,
    );
  }
}

/** Where the data begin. The local header must tell the same story as the directory. */
async function checkLocalHeader(entry: Entry, file: RandomAccessFile): Promise<number> {
  const at = entry.relativeOffsetOfLocalHeader;
  const nameBytes = entry.fileNameRaw.length;
  const bytes = await file.read(at, LOCAL_HEADER_BYTES + nameBytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const broken = (what: string): CompressionError =>
    new CompressionError(
      'DATASET_PARSE',
      `Zip member ${entry.fileName}: ${what}; the archive is broken or was tampered with`,
    );
  if (bytes.length < LOCAL_HEADER_BYTES || view.getUint32(0, true) !== 0x04034b50)
    throw broken('no local header where the directory points');
  if (view.getUint16(8, true) !== entry.compressionMethod)
    throw broken('local header and directory differ in the compression method');
  const sameName =
    view.getUint16(26, true) === nameBytes &&
    Buffer.compare(bytes.subarray(LOCAL_HEADER_BYTES), entry.fileNameRaw) === 0;
  if (!sameName) throw broken('local header and directory differ in the name');
  const hasDescriptor = (view.getUint16(6, true) & 8) !== 0;
  const [packed, unpacked] = [view.getUint32(18, true), view.getUint32(22, true)];
  const zip64 = packed === 0xffffffff || unpacked === 0xffffffff;
  if (!hasDescriptor && !zip64 && (packed !== entry.compressedSize || unpacked !== entry.uncompressedSize)) {
    throw broken('local header and directory differ in the sizes');
  }
  const dataOffset = at + LOCAL_HEADER_BYTES + nameBytes + view.getUint16(28, true);
  if (dataOffset + entry.compressedSize > file.size) throw broken('its data reach beyond the end of the file');
  return dataOffset;
}

/** Members that share bytes are how small files claim to hold petabytes (Fifield, "A better zip bomb", WOOT 2019). */
function refuseOverlaps(extents: { name: string; start: number; end: number }[]): void {
  extents.sort((a, b) => a.start - b.start);
  let last: (typeof extents)[number] | undefined;
  for (const extent of extents) {
    if (last !== undefined && extent.start < last.end) {
      throw new CompressionError(
        'DATASET_LIMIT',
        `Zip members ${last.name} and ${extent.name} overlap in the file; such archives are refused`,
      );
    }
    last = extent;
  }
}
