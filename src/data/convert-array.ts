import { CompressionError } from '../errors.ts';
import { isFloatType, type DataType } from '../onnx/data-type.ts';
import { allocate, type NdArray, type NumericArray } from '../onnx/nd-array.ts';
import { bfloat16ToNumber, float16ToNumber, numberToBfloat16, numberToFloat16 } from './half-float.ts';
import type { NumericType } from './npy-header.ts';

const INTEGER_RANGES: ReadonlyMap<DataType, readonly [bigint, bigint]> = new Map<DataType, readonly [bigint, bigint]>([
  ['bool', [0n, 1n]],
  ['int8', [-128n, 127n]],
  ['uint8', [0n, 255n]],
  ['int16', [-32768n, 32767n]],
  ['uint16', [0n, 65535n]],
  ['int32', [-(2n ** 31n), 2n ** 31n - 1n]],
  ['uint32', [0n, 2n ** 32n - 1n]],
  ['int64', [-(2n ** 63n), 2n ** 63n - 1n]],
  ['uint64', [0n, 2n ** 64n - 1n]],
]);

export function isIntegerType(type: DataType): boolean {
  return INTEGER_RANGES.has(type);
}

/** Whether arrays of one type can feed an input of the other; single values may still be refused by `convertArray`. */
export function canConvert(from: DataType, to: DataType): boolean {
  if (from === to) return from !== 'string';
  if (isFloatType(from)) return isFloatType(to);
  return isIntegerType(from) && (isIntegerType(to) || isFloatType(to));
}

/**
 * The array in another element type. Between float types values are rounded; integers must arrive exactly.
 * @returns the array itself when the type is the same
 * @throws CompressionError DATASET_SHAPE for an integer the type cannot hold
 */
export function convertArray(array: NdArray, to: NumericType, where: string): NdArray {
  if (array.type === 'string' || array.type === to) return array;
  const read = reader(array.type);
  const target = allocate(to, array.data.length);
  const range = INTEGER_RANGES.get(to);
  if (range !== undefined) writeIntegers(array.data, target, range, `${where}: the input is ${to}`);
  else writeFloats(array.data, target, { read, to, exact: isIntegerType(array.type), where });
  return { type: to, dims: array.dims, data: target };
}

function reader(type: DataType): (stored: number | bigint) => number {
  if (type === 'float16') return (stored) => float16ToNumber(Number(stored));
  if (type === 'bfloat16') return (stored) => bfloat16ToNumber(Number(stored));
  return Number;
}

/** How a number is stored in an array of a float type. */
export function floatWriter(type: DataType): (value: number) => number {
  if (type === 'float16') return numberToFloat16;
  if (type === 'bfloat16') return numberToBfloat16;
  return (value) => value;
}

function writeIntegers(
  source: NumericArray,
  target: NumericArray,
  [lowest, highest]: readonly [bigint, bigint],
  where: string,
): void {
  const [low, high] = [Number(lowest), Number(highest)];
  for (let i = 0; i < source.length; i += 1) {
    const value = source[i] ?? 0;
    const fits = typeof value === 'bigint' ? value >= lowest && value <= highest : value >= low && value <= high;
    if (!fits) throw notExact(value, where);
    if (target instanceof BigInt64Array || target instanceof BigUint64Array) target[i] = BigInt(value);
    else target[i] = Number(value);
  }
}

function writeFloats(
  source: NumericArray,
  target: NumericArray,
  conversion: {
    readonly read: (stored: number | bigint) => number;
    readonly to: DataType;
    readonly exact: boolean;
    readonly where: string;
  },
): void {
  const { read, to, exact, where } = conversion;
  const write = floatWriter(to);
  const back = reader(to);
  for (let i = 0; i < source.length; i += 1) {
    const value = source[i] ?? 0;
    target[i] = write(read(value));
    // bigint and number compare by mathematical value.
    if (exact && back(target[i] ?? 0) != value) throw notExact(value, `${where}: the input is ${to}`);
  }
}

function notExact(value: number | bigint, where: string): CompressionError {
  return new CompressionError(
    'DATASET_SHAPE',
    `${where}, which cannot hold the value ${value} of the array exactly; convert the array`,
  );
}

/** How many values are NaN or infinite; 0 for integer types. O(n), no copy. */
export function countNonFinite(array: NdArray): number {
  if (array.type === 'string' || !isFloatType(array.type)) return 0;
  const { data, type } = array;
  let count = 0;
  if (type === 'float16' || type === 'bfloat16') {
    const exponent = type === 'float16' ? 0x7c00 : 0x7f80;
    for (const stored of data) if ((Number(stored) & exponent) === exponent) count += 1;
  } else if (data instanceof Float32Array || data instanceof Float64Array) {
    // x - x is NaN exactly for NaN and the infinities, and NaN differs from itself.
    for (const item of data) if (item - item !== 0) count += 1;
  }
  return count;
}
