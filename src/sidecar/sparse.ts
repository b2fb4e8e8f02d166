import { decodeSymbols, encodeSymbols, entropyOf } from '../numerics/range-coder.ts';
import type { PartFields, SidecarFormat } from './container.ts';
import { decodePositions, encodePositions, type GroupPattern } from './sparse-positions.ts';

/**
 * Sidecar of the pruning passes. Fields of a tensor: number of elements; bytes an element (2 or 4); number of stored elements, n.
 * Code: length of the position code (4 bytes); the position code (sparse-positions.ts); then the bytes of the stored elements,
 * in element order, by place in the element, lowest first: length (4 bytes) and the n bytes as they are, or fewer where
 * they are range-coded.
 */
export const SPARSE: SidecarFormat = {
  magic: 'TERSORS1',
  pass: 'prune.unstructured or prune.pattern',
  byteLength([elements, width, stored]) {
    return (width === 2 || width === 4) && stored <= elements ? elements * width : undefined;
  },
  decode: decodeSparse,
};

export interface SparseTensor {
  readonly fields: PartFields;
  readonly code: Uint8Array;
  readonly positionBytes: number;
}

/** Below so many bits a byte a range code pays for itself. */
const WORTH_CODING = 7.9;

/**
 * The positions and the values of the elements that are not +0, bit for bit. O(elements).
 *
 * @param bytes - the tensor's, little-endian
 * @param width - bytes an element, 2 or 4
 */
export function encodeSparse(bytes: Uint8Array, width: 2 | 4, pattern?: GroupPattern): SparseTensor {
  const elements = bytes.length / width;
  const nonzero = new Uint8Array(elements);
  for (let i = 0; i < bytes.length; i += 1) if (bytes[i] !== 0) nonzero[Math.floor(i / width)] = 1;
  const { code: positions, stored } = encodePositions(nonzero, pattern);
  const count = countOnes(stored);
  const pieces = [integer(positions.length), positions];
  for (let place = 0; place < width; place += 1) {
    const plane = new Uint8Array(count);
    let at = 0;
    for (let i = 0; i < elements; i += 1) if (stored[i] === 1) plane[at++] = bytes[i * width + place] ?? 0;
    const coded = entropyOf(plane) < WORTH_CODING ? encodeSymbols(plane, 256) : plane;
    const shorter = coded.length < count ? coded : plane;
    pieces.push(integer(shorter.length), shorter);
  }
  return { fields: [elements, width, count], code: Buffer.concat(pieces), positionBytes: positions.length };
}

function decodeSparse([elements, width, count]: PartFields, code: Uint8Array): Uint8Array {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  let at = 0;
  const next = (): Uint8Array => {
    if (at + 4 > code.length) throw new RangeError('its code breaks off');
    const [start, length] = [at + 4, view.getUint32(at, true)];
    if (start + length > code.length) throw new RangeError('its code breaks off');
    at = start + length;
    return code.subarray(start, at);
  };
  const stored = decodePositions(next(), elements);
  if (countOnes(stored) !== count) {
    throw new RangeError(`${countOnes(stored)} elements have positions, ${count} have values`);
  }
  const bytes = new Uint8Array(elements * width);
  for (let place = 0; place < width; place += 1) {
    const coded = next();
    if (coded.length > count) throw new RangeError(`${coded.length} bytes for ${count} values`);
    const plane = coded.length === count ? coded : decodeSymbols(coded, count, 256);
    let from = 0;
    for (let i = 0; i < elements; i += 1) if (stored[i] === 1) bytes[i * width + place] = plane[from++] ?? 0;
  }
  return bytes;
}

function countOnes(mask: Uint8Array): number {
  let ones = 0;
  for (const one of mask) ones += one;
  return ones;
}

function integer(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
