/**
 * ONNX element types: their TensorProto.DataType code, width in bits, and the typed array that holds them in memory.
 * 4-bit and 2-bit types are packed (two or four elements a byte, low bits first), as in `raw_data`.
 * @see ONNX IR specification, "Tensor Element Types"; onnx.proto TensorProto.DataType (IR 13)
 */
export const DATA_TYPES = {
  float: { code: 1, bits: 32, array: 'Float32Array' },
  uint8: { code: 2, bits: 8, array: 'Uint8Array' },
  int8: { code: 3, bits: 8, array: 'Int8Array' },
  uint16: { code: 4, bits: 16, array: 'Uint16Array' },
  int16: { code: 5, bits: 16, array: 'Int16Array' },
  int32: { code: 6, bits: 32, array: 'Int32Array' },
  int64: { code: 7, bits: 64, array: 'BigInt64Array' },
  string: { code: 8, bits: 0, array: 'strings' },
  bool: { code: 9, bits: 8, array: 'Uint8Array' },
  float16: { code: 10, bits: 16, array: 'Uint16Array' },
  double: { code: 11, bits: 64, array: 'Float64Array' },
  uint32: { code: 12, bits: 32, array: 'Uint32Array' },
  uint64: { code: 13, bits: 64, array: 'BigUint64Array' },
  complex64: { code: 14, bits: 64, array: 'Float32Array' },
  complex128: { code: 15, bits: 128, array: 'Float64Array' },
  bfloat16: { code: 16, bits: 16, array: 'Uint16Array' },
  float8e4m3fn: { code: 17, bits: 8, array: 'Uint8Array' },
  float8e4m3fnuz: { code: 18, bits: 8, array: 'Uint8Array' },
  float8e5m2: { code: 19, bits: 8, array: 'Uint8Array' },
  float8e5m2fnuz: { code: 20, bits: 8, array: 'Uint8Array' },
  uint4: { code: 21, bits: 4, array: 'Uint8Array' },
  int4: { code: 22, bits: 4, array: 'Uint8Array' },
  float4e2m1: { code: 23, bits: 4, array: 'Uint8Array' },
  float8e8m0: { code: 24, bits: 8, array: 'Uint8Array' },
  uint2: { code: 25, bits: 2, array: 'Uint8Array' },
  int2: { code: 26, bits: 2, array: 'Uint8Array' },
} as const satisfies Record<string, { code: number; bits: number; array: string }>;

export type DataType = keyof typeof DATA_TYPES;

const BY_CODE: ReadonlyMap<number, DataType> = new Map(
  (Object.keys(DATA_TYPES) as DataType[]).map((name) => [DATA_TYPES[name].code, name]),
);

/** The element type with this TensorProto.DataType code, or undefined when ONNX IR 13 has none. */
export function dataTypeOfCode(code: number): DataType | undefined {
  return BY_CODE.get(code);
}

/** Bytes that `count` elements of `type` take in `raw_data` (packed types round up). Strings have no fixed size: 0. */
export function byteLengthOf(type: DataType, count: number): number {
  return Math.ceil((DATA_TYPES[type].bits * count) / 8);
}

/** True for the types QuantizeLinear takes as input: float, float16, bfloat16, double. */
export function isFloatType(type: string): boolean {
  return type === 'float' || type === 'double' || type === 'float16' || type === 'bfloat16';
}
