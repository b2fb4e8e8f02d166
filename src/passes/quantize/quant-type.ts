import { isPackedType, packIntegers, type PackedType } from '../../onnx/packed-integers.ts';
import { Tensor } from '../../onnx/tensor.ts';

/** Integer types of activations. */
export type ActivationType = 'int8' | 'uint8' | 'int16' | 'uint16';

/** Integer types of weights: those below 8 bits are stored packed and computed in float. */
export type WeightType = 'int8' | 'uint8' | PackedType;

/** Integer types a value can be quantized to. */
export type QuantType = ActivationType | WeightType;

export type QuantRange = readonly [qmin: number, qmax: number];

export const QUANT_RANGE = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int4: [-8, 7],
  uint4: [0, 15],
  int2: [-2, 1],
  uint2: [0, 3],
} as const satisfies Record<QuantType, QuantRange>;

/**
 * Ranges whose middle is an integer, so that zero stands exactly in it: for uint8 that is 0..254 with zero point 127
 * (not 128, which would leave one step more below than above). Below 8 bits a code less would be too much: the range stays, and
 * one half of it has a step more.
 */
export const SYMMETRIC_RANGE = {
  int8: [-127, 127],
  uint8: [0, 254],
  int16: [-32767, 32767],
  uint16: [0, 65534],
  int4: [-8, 7],
  uint4: [0, 15],
  int2: [-2, 1],
  uint2: [0, 3],
} as const satisfies Record<QuantType, QuantRange>;

export function rangeOf(type: QuantType, symmetric: boolean): QuantRange {
  return symmetric ? SYMMETRIC_RANGE[type] : QUANT_RANGE[type];
}

/** A new array of the type's element width; packed types get a byte an element. */
export function allocateQuantized(type: QuantType, length: number): Int8Array | Uint8Array | Int16Array | Uint16Array {
  switch (type) {
    case 'int8':
    case 'int4':
    case 'int2':
      return new Int8Array(length);
    case 'uint8':
    case 'uint4':
    case 'uint2':
      return new Uint8Array(length);
    case 'int16':
      return new Int16Array(length);
    case 'uint16':
      return new Uint16Array(length);
  }
}

/** Codes as a tensor, packed where the type is. */
export function codesTensor(
  name: string,
  type: QuantType,
  dims: readonly number[],
  codes: ReturnType<typeof allocateQuantized>,
): Tensor {
  return Tensor.fromArray(name, { type, dims, data: isPackedType(type) ? packIntegers(type, codes) : codes });
}

/** The opset whose DequantizeLinear first takes the type. */
export function opsetFor(type: QuantType): number {
  if (type === 'int2' || type === 'uint2') return 25;
  return type === 'int8' || type === 'uint8' ? 13 : 21;
}
