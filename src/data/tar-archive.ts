import { CompressionError } from '../errors.ts';
import { EntryNames } from './entry-names.ts';
import type { DataLimits } from './limits.ts';
import type { RandomAccessFile } from './random-access-file.ts';

const BLOCK = 512;
/** Names and attributes of one entry; real ones take a few hundred bytes. */
const MAX_EXTENSION_BYTES = 64 * 1024;

export interface TarMember {
  readonly name: string;
  readonly bytes: number;
  readonly dataOffset: number;
}

/** True when the block is a tar header: its checksum says so (tar files have no magic number at their beginning). */
export function isTar(head: Uint8Array): boolean {
  return head.length >= BLOCK && head[0] !== 0 && checksumFits(head.subarray(0, BLOCK));
}

/**
 * The files of a tar archive (ustar, pax, GNU long names), by position; nothing is extracted.
 * @throws CompressionError DATASET_PARSE for links, devices, unsafe names, damage; DATASET_LIMIT
 * @see POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format"
 */
export async function readTarDirectory(file: RandomAccessFile, limits: DataLimits): Promise<TarMember[]> {
  const names = new EntryNames();
  const members: TarMember[] = [];
  let entries = 0;
  let total = 0;
  let extension: Extension = {};
  for (let at = 0; ;) {
    const header = await file.read(at, BLOCK);
    if (header.length < BLOCK)
      throw new CompressionError(
        'DATASET_PARSE',
        `The tar archive ends at byte ${file.size} without its end mark; upload it again`,
      );
    if (header.every((byte) => byte === 0)) {
      await expectZeros(file, at);
      return members;
    }
    const entry = parseHeader(header, at);
    const bytes = extension.size ?? entry.bytes;
    const dataOffset = at + BLOCK;
    const next = dataOffset + Math.ceil(bytes / BLOCK) * BLOCK;
    if (next > file.size) {
      throw new CompressionError(
        'DATASET_PARSE',
        `Tar entry ${JSON.stringify(entry.name)} reaches beyond the end of the archive; upload it again`,
      );
    }
    entries += 1;
    total += bytes;
    if (entries > limits.maxEntries)
      throw new CompressionError('DATASET_LIMIT', `The archive has more than ${limits.maxEntries} entries`);
    if (total > limits.maxBytes)
      throw new CompressionError('DATASET_LIMIT', `The archive holds more than ${limits.maxBytes} bytes`);
    at = next;
    if ('xgLK'.includes(entry.type)) {
      extension = { ...extension, ...(await readExtension(file, entry, dataOffset)) };
      continue;
    }
    const name = extension.path ?? entry.name;
    names.add(name);
    extension = {};
    if (entry.type === '5' || name.endsWith('/')) continue;
    if (!FILE_TYPES.has(entry.type)) {
      throw new CompressionError(
        'DATASET_PARSE',
        `Tar entry ${JSON.stringify(name)} is a ${LINK_TYPES.get(entry.type) ?? `special file of type ${JSON.stringify(entry.type)}`}; only files and folders are read`,
      );
    }
    members.push({ name, bytes, dataOffset });
  }
}

/** Regular, regular in the oldest tars, contiguous (which is read as regular). */
const FILE_TYPES: ReadonlySet<string> = new Set(['0', '\0', '7']);

const LINK_TYPES: ReadonlyMap<string, string> = new Map([
  ['1', 'hard link'],
  ['2', 'symbolic link'],
  ['3', 'character device'],
  ['4', 'block device'],
  ['6', 'named pipe'],
  ['S', 'sparse file'],
]);

interface Extension {
  readonly path?: string;
  readonly size?: number;
}

interface HeaderBlock {
  readonly name: string;
  readonly type: string;
  readonly bytes: number;
}

function parseHeader(block: Uint8Array, at: number): HeaderBlock {
  if (!checksumFits(block))
    throw new CompressionError(
      'DATASET_PARSE',
      `The tar archive is damaged at byte ${at}: the header's checksum does not fit`,
    );
  const name = text(block, 0, 100);
  const isUstar = text(block, 257, 6).startsWith('ustar') && block[262] === 0;
  const prefix = isUstar ? text(block, 345, 155) : '';
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    type: String.fromCharCode(block[156] ?? 0),
    bytes: size(block, at),
  };
}

function text(block: Uint8Array, start: number, length: number): string {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString('utf8');
}

/** Octal digits, or (GNU) a big-endian number behind a byte of 0x80. */
function size(block: Uint8Array, at: number): number {
  const field = block.subarray(124, 136);
  let value: number;
  if (field[0] === 0x80) value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
  else {
    const digits = text(block, 124, 12).trim();
    value = digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : NaN;
  }
  if (!Number.isSafeInteger(value))
    throw new CompressionError(
      'DATASET_PARSE',
      `The tar archive is damaged at byte ${at}: an entry's size cannot be read`,
    );
  return value;
}

function checksumFits(block: Uint8Array): boolean {
  const stored = /^\s*([0-7]+)[\0 ]/.exec(Buffer.from(block.subarray(148, 156)).toString('latin1'))?.[1];
  let sum = 8 * 0x20;
  for (const [i, byte] of block.entries()) if (i < 148 || i >= 156) sum += byte;
  return stored !== undefined && Number.parseInt(stored, 8) === sum;
}

async function readExtension(file: RandomAccessFile, entry: HeaderBlock, offset: number): Promise<Extension> {
  if (entry.bytes > MAX_EXTENSION_BYTES) {
    throw new CompressionError(
      'DATASET_LIMIT',
      `A tar entry has ${entry.bytes} bytes of names and attributes, at most ${MAX_EXTENSION_BYTES} are read`,
    );
  }
  const bytes = await file.read(offset, entry.bytes);
  if (entry.type === 'L') return { path: Buffer.from(bytes).toString('utf8').replace(/\0$/, '') };
  // K is the target of a link (refused when its entry comes); g holds attributes of the whole archive, not names.
  return entry.type === 'x' ? parsePax(Buffer.from(bytes)) : {};
}

/** Records `length key=value\n`, the length in decimal and counting itself. */
function parsePax(bytes: Buffer): Extension {
  let extension: Extension = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const digits = bytes.toString('latin1', at, space < 0 ? at : space);
    const end = at + (/^\d{1,7}$/.test(digits) ? Number.parseInt(digits, 10) : 0);
    if (end <= space + 1 || end > bytes.length || bytes[end - 1] !== 0x0a) {
      throw new CompressionError('DATASET_PARSE', 'A tar entry has broken pax attributes; pack the archive again');
    }
    const record = bytes.toString('utf8', space + 1, end - 1);
    const equals = record.indexOf('=');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === 'path') extension = { ...extension, path: value };
    if (key === 'size') {
      const bytesOfFile = /^\d{1,15}$/.test(value) ? Number.parseInt(value, 10) : NaN;
      if (!Number.isSafeInteger(bytesOfFile))
        throw new CompressionError('DATASET_PARSE', `A tar entry has the pax size ${JSON.stringify(value)}`);
      extension = { ...extension, size: bytesOfFile };
    }
    if (key.startsWith('GNU.sparse.'))
      throw new CompressionError('DATASET_PARSE', 'The tar archive holds sparse files; pack it without --sparse');
    at = end;
  }
  return extension;
}

/** Behind the end mark tar pads with zeros; anything else is a second archive or garbage. */
async function expectZeros(file: RandomAccessFile, from: number): Promise<void> {
  for await (const chunk of file.stream(from, file.size)) {
    if (chunk.some((byte) => byte !== 0)) {
      throw new CompressionError(
        'DATASET_PARSE',
        `The tar archive has data behind its end mark at byte ${from}; pack it as one archive`,
      );
    }
  }
}
