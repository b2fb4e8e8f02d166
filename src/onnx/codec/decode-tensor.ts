import type { TensorProto } from 'onnx-buf';
import { CompressionError } from '../../errors.ts';
import { byteLengthOf, DATA_TYPES, dataTypeOfCode, type DataType } from '../data-type.ts';
import { allocate, type NumericArray } from '../nd-array.ts';
import { Tensor, type ExternalFile, type TensorStorage } from '../tensor.ts';
import { parseExternalData } from './external-data.ts';
import { entriesOf, isExternal, unknownFieldsOf } from './messages.ts';

export type ExternalResolver = (location: string) => ExternalFile;

/**
 * TensorProto to Tensor: `raw_data` stays a view; the typed fields (`float_data` and the like) become the bytes that
 * `raw_data` would have; external data stays in its file.
 *
 * @throws CompressionError MODEL_INVALID for bad dims, an unknown type, or data that does not fit the dims;
 *   MODEL_EXTERNAL_DATA for a bad reference
 */
export function decodeTensor(proto: TensorProto, where: string, external: ExternalResolver | undefined): Tensor {
  const label = proto.name === '' ? where : `${where} "${proto.name}"`;
  const dataType = tensorType(proto.dataType, label);
  const dims = tensorDims(proto.dims, label);
  if (proto.segment !== undefined) {
    throw new CompressionError('MODEL_UNSUPPORTED', `${label}: tensors stored in segments are not supported`);
  }
  const storage = isExternal(proto)
    ? externalStorage(proto, { dataType, dims, label }, external)
    : inlineStorage(proto, { dataType, dims, label });
  return new Tensor({
    name: proto.name,
    dataType,
    dims,
    storage,
    docString: proto.docString,
    metadata: entriesOf(proto.metadataProps),
    unknownFields: unknownFieldsOf(proto),
  });
}

interface Kind {
  readonly dataType: DataType;
  readonly dims: readonly number[];
  readonly label: string;
}

function tensorType(code: number, label: string): DataType {
  const dataType = dataTypeOfCode(code);
  if (dataType === undefined) {
    throw new CompressionError('MODEL_INVALID', `${label}: element type ${code} is none of ONNX's (1 to 26)`);
  }
  return dataType;
}

/** @throws CompressionError MODEL_INVALID for a negative size, or sizes whose product no tensor can have */
export function tensorDims(dims: readonly bigint[], label: string): number[] {
  let product = 1n;
  for (const dim of dims) {
    if (dim < 0n)
      throw new CompressionError('MODEL_INVALID', `${label}: dims [${dims.join(', ')}] has a negative size`);
    product *= dim;
  }
  // Zero-sized tensors too: each size must be exact as a number.
  const largest = dims.reduce((max, dim) => (dim > max ? dim : max), product);
  if (largest * 16n > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new CompressionError('MODEL_INVALID', `${label}: dims [${dims.join(', ')}] is too large for any tensor`);
  }
  return dims.map(Number);
}

function externalStorage(proto: TensorProto, kind: Kind, external: ExternalResolver | undefined): TensorStorage {
  const { dataType, label } = kind;
  if (dataType === 'string') {
    throw new CompressionError('MODEL_EXTERNAL_DATA', `${label}: string tensors cannot be external`);
  }
  const reference = parseExternalData(proto.externalData, label);
  const needed = byteLengthOf(dataType, count(kind.dims));
  if (reference.length !== undefined && reference.length !== needed) {
    throw new CompressionError(
      'MODEL_EXTERNAL_DATA',
      `${label}: ${dataType} [${kind.dims.join(', ')}] needs ${needed} bytes, its external data says ${reference.length}`,
    );
  }
  if (external === undefined) {
    throw new CompressionError(
      'MODEL_EXTERNAL_DATA',
      `${label}: its data is in the file "${reference.location}", which was not given; upload it with the model`,
    );
  }
  const file = external(reference.location);
  if (reference.offset + needed > file.byteLength) {
    throw new CompressionError(
      'MODEL_EXTERNAL_DATA',
      `${label}: bytes ${reference.offset} to ${reference.offset + needed} lie outside "${reference.location}" (${file.byteLength} bytes)`,
    );
  }
  return { kind: 'external', file, offset: reference.offset, byteLength: needed };
}

function inlineStorage(proto: TensorProto, kind: Kind): TensorStorage {
  const { dataType, dims, label } = kind;
  const elements = count(dims);
  if (dataType === 'string') {
    if (proto.rawData.byteLength > 0) {
      throw new CompressionError('MODEL_INVALID', `${label}: string tensors cannot have raw_data`);
    }
    if (proto.stringData.length !== elements) throw wrongCount(kind, elements, proto.stringData.length, 'strings');
    return { kind: 'strings', values: proto.stringData };
  }
  const needed = byteLengthOf(dataType, elements);
  if (proto.rawData.byteLength > 0 || needed === 0) {
    if (proto.rawData.byteLength !== needed)
      throw wrongCount(kind, needed, proto.rawData.byteLength, 'bytes of raw_data');
    return { kind: 'bytes', bytes: proto.rawData };
  }
  const { values, perElement } = typedField(proto, dataType);
  // Types under 8 bits are packed: a byte, thus several elements, for each item of int32_data.
  const expected = DATA_TYPES[dataType].bits < 8 ? needed : elements * perElement;
  if (values.length !== expected) throw wrongCount(kind, expected, values.length, 'items of data');
  const array = allocate(dataType, elements);
  fill(array, values, dataType);
  return { kind: 'bytes', bytes: new Uint8Array(array.buffer, array.byteOffset, array.byteLength) };
}

interface TypedField {
  readonly values: readonly number[] | readonly bigint[];
  readonly perElement: 1 | 2;
}

/** Which field of TensorProto holds the data of each type; see the comments in onnx.proto. */
function typedField(proto: TensorProto, dataType: Exclude<DataType, 'string'>): TypedField {
  switch (dataType) {
    case 'float':
      return { values: proto.floatData, perElement: 1 };
    case 'complex64':
      return { values: proto.floatData, perElement: 2 };
    case 'double':
      return { values: proto.doubleData, perElement: 1 };
    case 'complex128':
      return { values: proto.doubleData, perElement: 2 };
    case 'int64':
      return { values: proto.int64Data, perElement: 1 };
    case 'uint32':
    case 'uint64':
      return { values: proto.uint64Data, perElement: 1 };
    default:
      return { values: proto.int32Data, perElement: 1 };
  }
}

/** Items wider than the element are cut to its low bits, as ONNX Runtime does. */
function fill(array: NumericArray, values: readonly number[] | readonly bigint[], dataType: DataType): void {
  if (array instanceof BigInt64Array || array instanceof BigUint64Array) {
    for (let index = 0; index < values.length; index += 1) array[index] = BigInt(values[index] ?? 0);
  } else if (dataType === 'bool') {
    for (let index = 0; index < values.length; index += 1) array[index] = Number(values[index]) === 0 ? 0 : 1;
  } else if (dataType === 'uint32') {
    for (let index = 0; index < values.length; index += 1) {
      array[index] = Number(BigInt.asUintN(32, BigInt(values[index] ?? 0)));
    }
  } else {
    for (let index = 0; index < values.length; index += 1) array[index] = Number(values[index]);
  }
}

function wrongCount({ dataType, dims, label }: Kind, expected: number, got: number, what: string): CompressionError {
  return new CompressionError(
    'MODEL_INVALID',
    `${label}: ${dataType} [${dims.join(', ')}] needs ${expected} ${what}, got ${got}; the file is damaged, export it again`,
  );
}

function count(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}
