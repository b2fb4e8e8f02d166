import { DATA_TYPES, byteLengthOf, type DataType } from './data-type.ts';

export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/**
 * A dense array in row-major order, as it goes into and comes out of a session. `data` is the typed array named by
 * `DATA_TYPES[type].array`: bool as Uint8Array of 0/1, float16 and bfloat16 as their bits in a Uint16Array, 4- and
 * 2-bit types packed in a Uint8Array. Strings are a string array.
 */
export type NdArray =
  | { readonly type: Exclude<DataType, 'string'>; readonly dims: readonly number[]; readonly data: NumericArray }
  | { readonly type: 'string'; readonly dims: readonly number[]; readonly data: readonly string[] };

/** Product of the dimensions; 1 for a scalar. Exact up to 2^53, beyond that it is not a safe integer. */
export function elementCount(dims: readonly number[]): number {
  let count = 1;
  for (const dim of dims) count *= dim;
  return count;
}

/** A new zero-filled typed array for `count` elements of `type`. */
export function allocate(type: Exclude<DataType, 'string'>, count: number): NumericArray {
  const bits = DATA_TYPES[type].bits;
  const length = bits < 8 ? byteLengthOf(type, count) : type.startsWith('complex') ? count * 2 : count;
  switch (DATA_TYPES[type].array) {
    case 'Float32Array':
      return new Float32Array(length);
    case 'Float64Array':
      return new Float64Array(length);
    case 'Int8Array':
      return new Int8Array(length);
    case 'Uint8Array':
      return new Uint8Array(length);
    case 'Int16Array':
      return new Int16Array(length);
    case 'Uint16Array':
      return new Uint16Array(length);
    case 'Int32Array':
      return new Int32Array(length);
    case 'Uint32Array':
      return new Uint32Array(length);
    case 'BigInt64Array':
      return new BigInt64Array(length);
    case 'BigUint64Array':
      return new BigUint64Array(length);
  }
}

/** Shorthand for a float array. @throws RangeError when the length does not fit the dimensions */
export function float32Array(data: Float32Array, dims: readonly number[] = [data.length]): NdArray {
  if (elementCount(dims) !== data.length) {
    throw new RangeError(
      `float array has ${data.length} elements, dims [${dims.join(', ')}] need ${elementCount(dims)}`,
    );
  }
  return { type: 'float', dims, data };
}
