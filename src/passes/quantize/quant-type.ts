/** Integer types a value can be quantized to. */
export type QuantType = 'int8' | 'uint8' | 'int16' | 'uint16';

export type QuantRange = readonly [qmin: number, qmax: number];

export const QUANT_RANGE = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
} as const satisfies Record<QuantType, QuantRange>;

/**
 * Ranges whose middle is an integer, so that zero stands exactly in it: for uint8 that is 0..254 with zero point 127
 * (not 128, which would leave one step more below than above).
 */
export const SYMMETRIC_RANGE = {
  int8: [-127, 127],
  uint8: [0, 254],
  int16: [-32767, 32767],
  uint16: [0, 65534],
} as const satisfies Record<QuantType, QuantRange>;

export function rangeOf(type: QuantType, symmetric: boolean): QuantRange {
  return symmetric ? SYMMETRIC_RANGE[type] : QUANT_RANGE[type];
}

/** A new array of the type's element width. */
export function allocateQuantized(type: QuantType, length: number): Int8Array | Uint8Array | Int16Array | Uint16Array {
  switch (type) {
    case 'int8':
      return new Int8Array(length);
    case 'uint8':
      return new Uint8Array(length);
    case 'int16':
      return new Int16Array(length);
    case 'uint16':
      return new Uint16Array(length);
  }
}
