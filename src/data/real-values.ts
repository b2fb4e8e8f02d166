import type { Tensor } from '../onnx/tensor.ts';
import { bfloat16ToNumber, float16ToNumber } from './half-float.ts';

/**
 * The values of a tensor of any floating type as numbers; float and double are views where they can be. Do not write into it.
 *
 * @throws TypeError for a type that holds no floating point numbers
 */
export function realValues(tensor: Tensor): Float32Array | Float64Array {
  const { data, type } = tensor.toArray();
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (data instanceof Uint16Array && type === 'float16') return Float32Array.from(data, float16ToNumber);
  if (data instanceof Uint16Array && type === 'bfloat16') return Float32Array.from(data, bfloat16ToNumber);
  throw new TypeError(`tensor "${tensor.name}" is ${type}, not a floating type`);
}
