import * as ort from 'onnxruntime-node';
import { CompressionError } from '../errors.ts';
import type { DataType } from '../onnx/data-type.ts';
import type { NdArray, NumericArray } from '../onnx/nd-array.ts';

const ORT_NAMES: Partial<Record<DataType, ort.Tensor.Type>> = {
  float: 'float32',
  double: 'float64',
  float16: 'float16',
  int8: 'int8',
  uint8: 'uint8',
  int16: 'int16',
  uint16: 'uint16',
  int32: 'int32',
  uint32: 'uint32',
  int64: 'int64',
  uint64: 'uint64',
  bool: 'bool',
  string: 'string',
};
const OUR_NAMES: ReadonlyMap<string, DataType> = new Map(
  Object.entries(ORT_NAMES).map(([ours, theirs]) => [theirs, ours as DataType]),
);

export function typeFromOrt(type: string): DataType {
  const ours = OUR_NAMES.get(type);
  if (ours === undefined) throw new CompressionError('MODEL_LOAD', `element type ${type} cannot cross into JavaScript`);
  return ours;
}

/** Views the array's memory. @throws MODEL_RUN for an element type that the Node binding does not take */
export function toOrt(array: NdArray, name: string): ort.Tensor {
  if (array.type === 'string') return new ort.Tensor('string', [...array.data], array.dims);
  const type = ORT_NAMES[array.type];
  if (type === undefined || type === 'string') {
    throw new CompressionError(
      'MODEL_RUN',
      `input "${name}" is ${array.type}, which cannot be fed from JavaScript; insert a Cast`,
    );
  }
  const data = type === 'float16' ? asFloat16(array.data) : array.data;
  return new ort.Tensor(type, data, array.dims);
}

export function fromOrt(value: ort.OnnxValue): NdArray {
  const tensor = value;
  const type = typeFromOrt(tensor.type);
  if (type === 'string') return { type, dims: tensor.dims, data: tensor.data as string[] };
  const data = tensor.data as NumericArray;
  if (type !== 'float16') return { type, dims: tensor.dims, data };
  return { type, dims: tensor.dims, data: new Uint16Array(data.buffer, data.byteOffset, data.length) };
}

/** Node 24 and later hand float16 over as Float16Array; our arrays hold the bits. Same memory either way. */
function asFloat16(bits: NumericArray): NumericArray {
  const constructor = (
    globalThis as { Float16Array?: new (buffer: ArrayBufferLike, offset: number, length: number) => unknown }
  ).Float16Array;
  if (constructor === undefined) return bits;
  return new constructor(bits.buffer, bits.byteOffset, bits.length) as NumericArray;
}
