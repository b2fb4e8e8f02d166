import { crc32, deflateRawSync } from 'node:zlib';

/** One member of a zip file, each field free to lie. */
export interface ZipPart {
  readonly name: string;
  readonly data: Uint8Array;
  readonly deflate?: boolean;
  readonly flags?: number;
  readonly method?: number;
  /** What the directory says instead of the truth. */
  readonly bytes?: number;
  readonly packedBytes?: number;
  readonly crc?: number;
  /** What the local header says instead of the directory. */
  readonly localName?: string;
  readonly localBytes?: number;
  /** Sizes behind the data, as writers do that cannot seek: the local header has zeros. */
  readonly descriptor?: boolean;
  /** Unix file mode. */
  readonly mode?: number;
  /** Uses the data of the member before (overlap). */
  readonly share?: boolean;
}

const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

export function zip(parts: readonly ZipPart[], options: { readonly entryCount?: number } = {}): Buffer {
  const body: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  let last = 0;
  for (const part of parts) {
    const packed = part.deflate === true ? deflateRawSync(part.data) : Buffer.from(part.data);
    const method = part.method ?? (part.deflate === true ? 8 : 0);
    const flags = (part.flags ?? 0) | (part.descriptor === true ? 8 : 0);
    const crc = part.crc ?? crc32(part.data);
    const bytes = part.bytes ?? part.data.length;
    const packedBytes = part.packedBytes ?? packed.length;
    const local = (name: string, size: number, packedSize: number, sum: number): Buffer =>
      Buffer.concat([
        u32(0x04034b50),
        ...[20, flags, method, 0, 0x21].map(u16),
        ...[sum, packedSize, size].map(u32),
        u16(Buffer.byteLength(name)),
        u16(0),
        Buffer.from(name),
      ]);
    const at = part.share === true ? last : offset;
    if (part.share !== true) {
      const header =
        part.descriptor === true
          ? local(part.name, 0, 0, 0)
          : local(part.localName ?? part.name, part.localBytes ?? bytes, part.localBytes ?? packedBytes, crc);
      const tail =
        part.descriptor === true
          ? Buffer.concat([u32(0x08074b50), u32(crc), u32(packedBytes), u32(bytes)])
          : Buffer.alloc(0);
      body.push(header, packed, tail);
      last = offset;
      offset += header.length + packed.length + tail.length;
    }
    const name = Buffer.from(part.name);
    directory.push(
      Buffer.concat([
        u32(0x02014b50),
        ...[(3 << 8) | 20, 20, flags, method, 0, 0x21].map(u16),
        ...[crc, packedBytes, bytes].map(u32),
        ...[name.length, 0, 0, 0, 0].map(u16),
        u32(((part.mode ?? 0o100644) << 16) >>> 0),
        u32(at),
        name,
      ]),
    );
  }
  const central = Buffer.concat(directory);
  const count = u16(options.entryCount ?? parts.length);
  return Buffer.concat([
    ...body,
    central,
    u32(0x06054b50),
    u16(0),
    u16(0),
    count,
    count,
    u32(central.length),
    u32(offset),
    u16(0),
  ]);
}

export interface TarPart {
  readonly name: string;
  readonly data?: Uint8Array;
  /** Type flag; default a regular file. */
  readonly type?: string;
  readonly linkName?: string;
  readonly bytes?: number;
  readonly badChecksum?: boolean;
}

export function tar(parts: readonly TarPart[], end: Uint8Array = Buffer.alloc(1024)): Buffer {
  const blocks = parts.flatMap(({ name, data = Buffer.alloc(0), type = '0', linkName = '', bytes, badChecksum }) => {
    const block = Buffer.alloc(512);
    block.write(name, 0, 100);
    block.write('0000644\0', 100);
    block.write(`${(bytes ?? data.length).toString(8).padStart(11, '0')}\0`, 124);
    block.write('00000000000\0', 136);
    block.write('        ', 148);
    block.write(type, 156);
    block.write(linkName, 157, 100);
    block.write('ustar\0' + '00', 257);
    const sum = block.reduce((total, byte) => total + byte, 0) + (badChecksum === true ? 1 : 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return [block, Buffer.from(data), Buffer.alloc((512 - (data.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, end]);
}

export function pax(key: string, value: string): TarPart {
  const body = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(body);
  length += String(length + String(length).length).length;
  return { name: 'pax', type: 'x', data: Buffer.from(`${length}${body}`) };
}

/** A .npy file with any header text and any data. */
export function npy(dictionary: string, data: Uint8Array = new Uint8Array(0), headerBytes?: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(headerBytes ?? dictionary.length);
  return Buffer.concat([Buffer.from('\x93NUMPY\x02\0', 'latin1'), length, Buffer.from(dictionary), data]);
}

export const npyHeader = (descr: string, shape: string): string =>
  `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
