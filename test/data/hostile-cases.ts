import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { DataLimits } from '../../src/data/limits.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { npy, npyHeader, pax, tar, zip, type TarPart, type ZipPart } from './archives.ts';

const fixtures = join(import.meta.dirname, '../fixtures/data');
export const fixture = (name: string): Promise<Buffer> => readFile(join(fixtures, name));

export const floats = npy(npyHeader('<f4', '(4,)'), new Uint8Array(16));
export const good: ZipPart = { name: 'x.npy', data: floats };
export const packed: ZipPart = { ...good, deflate: true };
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==',
  'base64',
);
export const picture: TarPart = { name: 'cat/1.png', data: png };
export const goodTar = tar([picture]);
const GIGABYTE = 2 ** 30;

export interface HostileCase {
  readonly name: string;
  readonly bytes: Buffer | (() => Promise<Buffer>);
  readonly code: ErrorCode;
  readonly message: RegExp;
  readonly limits?: Partial<DataLimits>;
}

const broken = (name: string, bytes: HostileCase['bytes'], message: RegExp): HostileCase => ({
  name,
  bytes,
  code: 'DATASET_PARSE',
  message,
});

// The letters are those of the threat model: D1 bombs, D2 tar names and kinds, D3 pickles, D4 and D5 headers, D6 types,
// D7 gzip, D8 names and counts, D9 zip lies.
export const HOSTILE_CASES: readonly HostileCase[] = [
  broken('D1 members that share bytes', zip([packed, { ...packed, name: 'x.npy', share: true }]), /twice/),
  broken(
    'D1 members that share bytes under another name',
    zip([good, { ...good, share: true, name: 'y.npy' }]),
    /differ in the name/,
  ),
  {
    name: 'D1 a member that covers the next',
    bytes: zip([
      { ...good, packedBytes: floats.length + 20, bytes: floats.length + 20 },
      { ...good, name: 'y.npy' },
    ]),
    code: 'DATASET_LIMIT',
    message: /overlap/,
  },
  {
    name: 'D1 a ratio beyond reason',
    bytes: zip([{ ...packed, bytes: GIGABYTE, localBytes: GIGABYTE, flags: 8 }]),
    code: 'DATASET_LIMIT',
    message: /decompresses to 1073741824/,
  },
  {
    name: 'D1 more bytes than allowed',
    bytes: zip([good]),
    code: 'DATASET_LIMIT',
    message: /more than 10 bytes/,
    limits: { maxBytes: 10 },
  },
  {
    name: 'D1 zips in a zip',
    bytes: zip([{ name: '1.zip', data: zip([good]) }]),
    code: 'DATASET_EMPTY',
    message: /no images/,
  },
  {
    name: 'D1 gzip of a gigabyte of zeros',
    bytes: () => Promise.resolve(gzipSync(Buffer.alloc(128 * 2 ** 20))),
    code: 'DATASET_LIMIT',
    message: /times as many/,
  },

  { name: 'D2 tar ../', bytes: tar([{ ...picture, name: '../cat/1.png' }]), code: 'DATASET_PARSE', message: /outside/ },
  broken('D2 tar absolute', tar([{ ...picture, name: '/etc/1.png' }]), /absolute/),
  broken(
    'D2 tar symbolic link',
    tar([picture, { name: 'cat/2.png', type: '2', linkName: '/etc/passwd' }]),
    /symbolic link/,
  ),
  broken('D2 tar hard link', tar([picture, { name: 'cat/2.png', type: '1', linkName: 'cat/1.png' }]), /hard link/),
  { name: 'D2 tar device', bytes: tar([{ name: 'cat/1.png', type: '3' }]), code: 'DATASET_PARSE', message: /device/ },
  { name: 'D2 tar pipe', bytes: tar([{ name: 'cat/1.png', type: '6' }]), code: 'DATASET_PARSE', message: /pipe/ },
  broken('D2 pax name with NUL', tar([pax('path', 'cat/1.png\0/../x'), picture]), /control characters/),
  broken('D2 pax name ../', tar([pax('path', '../../x.png'), picture]), /outside/),
  broken('D2 pax size that is none', tar([pax('size', '-1'), picture]), /pax size/),
  broken(
    'D2 pax records that are none',
    tar([{ name: 'p', type: 'x', data: Buffer.from('99 path=x\n') }, picture]),
    /broken pax/,
  ),
  {
    name: 'D2 pax of a megabyte',
    bytes: tar([{ name: 'p', type: 'x', data: Buffer.alloc(2 ** 20) }, picture]),
    code: 'DATASET_LIMIT',
    message: /attributes/,
  },
  broken('D2 zip symbolic link', zip([{ name: 'cat/1.png', data: png, mode: 0o120777 }]), /link or a device/),

  {
    name: 'D3 pickled member',
    bytes: () => fixture('pickle.npz'),
    code: 'DATASET_PICKLE',
    message: /pickles are never read/,
  },
  broken('D3 strings', () => fixture('strings.npz'), /names\.npy has dtype <U3: strings/),
  broken(
    'D4 a shape without its bytes',
    npy(npyHeader('|u1', '(65536, 65536)'), new Uint8Array(8)),
    /needs 4294967296 bytes, there are 8/,
  ),
  broken(
    'D4 the same in a zip',
    zip([{ name: 'x.npy', data: npy(npyHeader('<f4', '(65536, 65536)')) }]),
    /needs 17179869184/,
  ),
  broken(
    'D4 bytes without their shape',
    npy(npyHeader('|u1', '(2,)'), new Uint8Array(8)),
    /needs 2 bytes, there are 8/,
  ),
  {
    name: 'D5 a header of 4 GB',
    bytes: npy(npyHeader('<f4', '(4,)'), new Uint8Array(16), 0xffffffff),
    code: 'DATASET_LIMIT',
    message: /4294967295 bytes long/,
  },
  broken(
    'D5 a header that reaches beyond the file',
    npy(npyHeader('<f4', '(4,)'), new Uint8Array(0), 9000),
    /cut short/,
  ),
  broken(
    'D5 Python in the header',
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (exit(),), }"),
    /expected a dimension/,
  ),
  broken('D6 a type nobody has', npy(npyHeader('<f16', '(1,)'), new Uint8Array(16)), /dtype <f16/),

  broken(
    'D7 gzip with garbage behind',
    Buffer.concat([gzipSync(goodTar), Buffer.from('garbage')]),
    /7 bytes behind its end/,
  ),
  broken('D7 gzip of two members', Buffer.concat([gzipSync(goodTar), gzipSync(goodTar)]), /behind its end/),
  { name: 'D7 gzip cut short', bytes: gzipSync(goodTar).subarray(0, -20), code: 'DATASET_PARSE', message: /gzip/i },
  broken('D7 gzip without its trailer', gzipSync(goodTar).subarray(0, -4), /cut short/),
  broken('D7 gzip with a wrong checksum', flip(gzipSync(goodTar), -8), /checksum/),
  broken('D7 gzip of something else', gzipSync(Buffer.alloc(4096, 'text')), /does not hold a tar/),
  broken('D7 tar cut short in a file', goodTar.subarray(0, 540), /beyond the end/),
  broken('D7 tar without its end mark', tar([picture], Buffer.alloc(0)), /end mark/),
  broken(
    'D7 tar with data behind its end',
    tar([picture], Buffer.concat([Buffer.alloc(1024), goodTar])),
    /behind its end mark/,
  ),
  broken(
    'D7 tar with a damaged header',
    tar([picture, { ...picture, name: 'cat/2.png', badChecksum: true }]),
    /checksum/,
  ),

  { name: 'D8 a name twice in a tar', bytes: tar([picture, picture]), code: 'DATASET_PARSE', message: /twice/ },
  broken('D8 a name twice but for case', zip([good, { ...good, name: 'X.npy' }]), /differ only in case/),
  broken(
    'D8 a name twice but for ./',
    tar([picture, { ...picture, name: './cat/1.png' }]),
    /differ only in case or spelling/,
  ),
  {
    name: 'D8 more entries than allowed',
    bytes: zip([good, { ...good, name: 'y.npy' }]),
    code: 'DATASET_LIMIT',
    message: /2 entries/,
    limits: { maxEntries: 1 },
  },
  {
    name: 'D8 more entries than allowed, tar',
    bytes: tar([picture, { ...picture, name: 'cat/2.png' }]),
    code: 'DATASET_LIMIT',
    message: /more than 1 entries/,
    limits: { maxEntries: 1 },
  },
  broken('D8 fewer entries than announced', zip([good], { entryCount: 60000 }), /broken/),
  broken('D8 zip ../', zip([{ ...good, name: '../x.npy' }]), /relative path|outside/),
  broken('D8 zip backslash', zip([{ ...good, name: 'a\\x.npy' }]), /invalid characters|backslash/),

  { name: 'D9 encrypted', bytes: zip([{ ...good, flags: 1, method: 8 }]), code: 'DATASET_PARSE', message: /encrypted/ },
  broken('D9 strongly encrypted', zip([{ ...good, flags: 0x41, method: 8 }]), /encryption/),
  { name: 'D9 another method', bytes: zip([{ ...good, method: 12 }]), code: 'DATASET_PARSE', message: /method 12/ },
  broken(
    'D9 a descriptor that lies, member too short',
    zip([{ ...packed, descriptor: true, bytes: floats.length + 4 }]),
    /needs 16 bytes, there are 20/,
  ),
  broken(
    'D9 a deflated member longer than it says',
    zip([{ ...packed, data: npy(npyHeader('<f4', '(4,)'), new Uint8Array(64)), bytes: floats.length }]),
    /holds more bytes/,
  ),
  { name: 'D9 a wrong checksum, stored', bytes: zip([{ ...good, crc: 1 }]), code: 'DATASET_PARSE', message: /CRC-32/ },
  broken('D9 a wrong checksum, deflated', zip([{ ...packed, crc: 1 }]), /CRC-32/),
  broken(
    'D9 deflate data that are none',
    zip([{ ...good, data: Buffer.alloc(99, 7), method: 8 }]),
    /does not decompress/,
  ),
  broken('D9 another name in the local header', zip([{ ...good, localName: 'y.npy' }]), /differ in the name/),
  broken('D9 other sizes in the local header', zip([{ ...good, localBytes: 3 }]), /differ in the sizes/),
  { name: 'D9 a zip cut short', bytes: zip([good]).subarray(0, -10), code: 'DATASET_PARSE', message: /broken/ },
  broken('D9 data behind the zip', Buffer.concat([zip([good]), Buffer.from('x')]), /broken/),

  { name: 'D11 a file of nothing', bytes: Buffer.alloc(0), code: 'DATASET_EMPTY', message: /empty file/ },
  { name: 'D11 a zip of nothing', bytes: zip([]), code: 'DATASET_EMPTY', message: /no files/ },
  {
    name: 'D11 arrays of no samples',
    bytes: npy(npyHeader('<f4', '(0, 3)')),
    code: 'DATASET_EMPTY',
    message: /no samples/,
  },
  broken('something else', Buffer.from('id,label\n1,2\n'), /begins with bytes 69642c6c/),
  broken('arrays beside images', zip([good, { name: 'cat/1.png', data: png }]), /beside other files/),
  broken('a broken image', zip([{ name: 'cat/1.png', data: png.subarray(0, 40) }]), /Image cat\/1\.png is broken/),
  broken(
    'a program as an image',
    zip([{ name: 'cat/1.png', data: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>') }]),
    /cat\/1\.png is none of/,
  ),
  {
    name: 'an image of too many pixels',
    bytes: () => fixture('images.zip'),
    code: 'DATASET_LIMIT',
    message: /more than 10 pixels/,
    limits: { maxImagePixels: 10 },
  },
  broken('a Parquet file cut short', async () => (await fixture('rows-snappy.parquet')).subarray(0, -1), /PAR1/),
  {
    name: 'a Parquet footer that lies',
    bytes: async () => flip(await fixture('rows-snappy.parquet'), -5),
    code: 'DATASET_LIMIT',
    message: /footer/,
  },
];

/** A copy with one byte changed; `at` counts from the end (negative). */
export function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  const index = copy.length + at;
  copy[index] = copy[index]! ^ 0x55;
  return copy;
}
