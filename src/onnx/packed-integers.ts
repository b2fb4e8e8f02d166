import { DATA_TYPES, byteLengthOf } from './data-type.ts';

/** Element types of which several share a byte. */
export type PackedType = 'int4' | 'uint4' | 'int2' | 'uint2';

export function isPackedType(type: string): type is PackedType {
  return type === 'int4' || type === 'uint4' || type === 'int2' || type === 'uint2';
}

/**
 * Integers as they stand in `raw_data` of a 4-bit or 2-bit tensor: low bits first, negative ones in two's complement, the rest of
 * the last byte 0. O(n).
 *
 * @param values - integers within the type's range; others lose their high bits
 * @see ONNX onnx.proto, TensorProto.raw_data: "4-bit ... first element is stored in the 4 LSB"
 */
export function packIntegers(type: PackedType, values: ArrayLike<number>): Uint8Array {
  const { length } = values;
  const bits = DATA_TYPES[type].bits;
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  const bytes = new Uint8Array(byteLengthOf(type, length));
  for (let i = 0, at = 0; i < length; at += 1) {
    let byte = 0;
    for (let place = 0; place < perByte && i < length; place += 1, i += 1) {
      byte |= ((values[i] ?? 0) & mask) << (place * bits);
    }
    bytes[at] = byte;
  }
  return bytes;
}

/** The `count` integers that are packed in `bytes`. O(n). */
export function unpackIntegers(type: PackedType, bytes: Uint8Array, count: number): Int8Array | Uint8Array {
  const bits = DATA_TYPES[type].bits;
  const perByte = 8 / bits;
  const isSigned = type.startsWith('int');
  const values = isSigned ? new Int8Array(count) : new Uint8Array(count);
  const unused = 32 - bits;
  for (let i = 0; i < count; i += 1) {
    const shifted = (bytes[Math.floor(i / perByte)] ?? 0) >> ((i % perByte) * bits);
    // To the top of 32 bits and back: the shift to the right copies the sign bit, or zeros.
    values[i] = isSigned ? (shifted << unused) >> unused : shifted & (2 ** bits - 1);
  }
  return values;
}
