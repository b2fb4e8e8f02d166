import { bfloat16ToNumber, float16ToNumber } from '../data/half-float.ts';
import { isFloatType, type DataType } from '../onnx/data-type.ts';
import type { NdArray } from '../onnx/nd-array.ts';

/**
 * The values of an output or label array as numbers: float, double and integers up to 32 bits as they are (no copy),
 * 64-bit integers and half floats converted. Undefined for strings, complex and packed types, which have no order we
 * could compare by. 64-bit integers beyond 2^53 lose their last bits, which no class index or score needs.
 */
export function asNumbers(array: NdArray): ArrayLike<number> | undefined {
  if (array.type === 'string' || !isComparable(array.type)) return undefined;
  const { data, type } = array;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const numbers = new Float64Array(data.length);
    for (let i = 0; i < numbers.length; i += 1) numbers[i] = Number(data[i]);
    return numbers;
  }
  if (type === 'float16' || type === 'bfloat16') {
    const numbers = new Float32Array(data.length);
    const decode = type === 'float16' ? float16ToNumber : bfloat16ToNumber;
    for (let i = 0; i < numbers.length; i += 1) numbers[i] = decode(Number(data[i]));
    return numbers;
  }
  return data;
}

function isComparable(type: DataType): boolean {
  return isFloatType(type) || /^(u?int(8|16|32|64)|bool)$/.test(type);
}
