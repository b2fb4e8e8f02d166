import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { crc32, deflateRaw } from 'node:zlib';
import { promisify } from 'node:util';
import { CompressionError } from '../errors.ts';
import type { DataType } from '../onnx/data-type.ts';
import { elementCount, type NdArray } from '../onnx/nd-array.ts';

const deflateAll = promisify(deflateRaw);
const DESCR: ReadonlyMap<DataType, string> = new Map<DataType, string>([
  ['bool', '|b1'],
  ['int8', '|i1'],
  ['uint8', '|u1'],
  ['int16', '<i2'],
  ['uint16', '<u2'],
  ['float16', '<f2'],
  ['int32', '<i4'],
  ['uint32', '<u4'],
  ['float', '<f4'],
  ['int64', '<i8'],
  ['uint64', '<u8'],
  ['double', '<f8'],
  ['complex64', '<c8'],
  ['complex128', '<c16'],
]);
const ZIP32_LIMIT = 0xffffffff;
/** 1 January 1980, the zip format's zero: no clock, so that the same arrays give the same file. */
const DOS_DATE = 0x0021;

/**
 * An array as a .npy file, version 1.0, row-major.
 * @throws CompressionError DATASET_PARSE for types that numpy does not have
 */
export function encodeNpy(array: NdArray): Uint8Array {
  const descr = DESCR.get(array.type);
  if (array.type === 'string' || descr === undefined) {
    throw new CompressionError(
      'DATASET_PARSE',
      `numpy has no type for ${array.type}; convert the array to float first`,
    );
  }
  const parts = array.type.startsWith('complex') ? 2 : 1;
  if (elementCount(array.dims) * parts !== array.data.length) {
    throw new RangeError(
      `array has ${array.data.length / parts} elements, dims [${array.dims.join(', ')}] need ${elementCount(array.dims)}`,
    );
  }
  const shape = `(${array.dims.join(', ')}${array.dims.length === 1 ? ',' : ''})`;
  const dictionary = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  // Magic, version and length take 10 bytes; numpy pads the whole to 64 and ends it with a newline.
  const padding = 63 - ((10 + dictionary.length) % 64);
  const header = `${dictionary}${' '.repeat(padding)}\n`;
  const bytes = new Uint8Array(10 + header.length + array.data.byteLength);
  bytes.set(Buffer.from('\x93NUMPY\x01\x00', 'latin1'));
  new DataView(bytes.buffer).setUint16(8, header.length, true);
  bytes.set(Buffer.from(header, 'latin1'), 10);
  bytes.set(new Uint8Array(array.data.buffer, array.data.byteOffset, array.data.byteLength), 10 + header.length);
  return bytes;
}

/**
 * Writes named arrays as a .npz file, one after the other, without a clock: the same arrays give the same bytes.
 * For files below 4 GiB (no zip64).
 * @throws CompressionError LIMIT_SIZE beyond that
 */
export async function writeNpz(
  path: string,
  arrays: Readonly<Record<string, NdArray>>,
  { compress = true }: { readonly compress?: boolean } = {},
): Promise<void> {
  const output = createWriteStream(path);
  const directory: Buffer[] = [];
  let offset = 0;
  const write = async (bytes: Uint8Array): Promise<void> => {
    offset += bytes.length;
    if (offset > ZIP32_LIMIT) {
      throw new CompressionError('LIMIT_SIZE', `${path} would grow beyond 4 GiB; split the arrays over several files`);
    }
    if (!output.write(bytes)) await once(output, 'drain');
  };
  try {
    for (const [name, array] of Object.entries(arrays)) {
      const member = encodeNpy(array);
      const packed = compress ? await deflateAll(member, { level: 9 }) : member;
      const fields = memberFields(Buffer.from(`${name}.npy`), { packed, member, compress });
      directory.push(directoryEntry(fields, offset));
      await write(Buffer.concat([u32(0x04034b50), fields.common, u16(0), fields.name]));
      await write(packed);
    }
    const start = offset;
    for (const entry of directory) await write(entry);
    const size = offset - start;
    const count = u16(directory.length);
    await write(Buffer.concat([u32(0x06054b50), u16(0), u16(0), count, count, u32(size), u32(start), u16(0)]));
  } finally {
    output.end();
    await finished(output);
  }
}

interface MemberFields {
  readonly name: Buffer;
  /** What the local header and the directory entry have in common: from the version needed to the name's length. */
  readonly common: Buffer;
}

function memberFields(
  name: Buffer,
  { packed, member, compress }: { packed: Uint8Array; member: Uint8Array; compress: boolean },
): MemberFields {
  const utf8Names = 0x0800;
  const common = Buffer.concat([
    u16(20),
    u16(utf8Names),
    u16(compress ? 8 : 0),
    u16(0),
    u16(DOS_DATE),
    u32(crc32(member)),
    u32(packed.length),
    u32(member.length),
    u16(name.length),
  ]);
  return { name, common };
}

function directoryEntry({ name, common }: MemberFields, offset: number): Buffer {
  const noExtraCommentDisk = Buffer.alloc(6);
  return Buffer.concat([u32(0x02014b50), u16(20), common, noExtraCommentDisk, u16(0), u32(0), u32(offset), name]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
