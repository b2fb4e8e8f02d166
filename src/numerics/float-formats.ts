/** Narrow floating-point formats, as their bits. All round half to even. */
export type NarrowFloat = 'float16' | 'bfloat16' | 'float8e4m3fn';

/** Largest finite value. */
export const LARGEST = { float16: 65504, bfloat16: 2 ** 128 - 2 ** 120, float8e4m3fn: 448 } as const satisfies Record<
  NarrowFloat,
  number
>;

/**
 * Writes values in a narrow format. Beyond the largest finite value they become that value, with their sign; NaN stays NaN. O(n).
 *
 * @param values - finite for a meaningful result; `values.length <= target.length`
 */
export function encodeFloats(values: Float32Array, type: NarrowFloat, target: Uint16Array | Uint8Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  switch (type) {
    case 'float16':
      for (let i = 0; i < bits.length; i += 1) target[i] = float16Bits(bits[i] ?? 0);
      return;
    case 'bfloat16':
      for (let i = 0; i < bits.length; i += 1) target[i] = bfloat16Bits(bits[i] ?? 0);
      return;
    case 'float8e4m3fn':
      for (let i = 0; i < bits.length; i += 1) target[i] = float8Bits(bits[i] ?? 0);
  }
}

/** The numbers that codes of a narrow format stand for, by code. */
export function decodeTable(type: NarrowFloat): Float32Array {
  const [count, exponentBits, fractionBits] = {
    float16: [65536, 5, 10],
    bfloat16: [65536, 8, 7],
    float8e4m3fn: [256, 4, 3],
  }[type] as [number, number, number];
  const bias = 2 ** (exponentBits - 1) - 1;
  const table = new Float32Array(count);
  for (let code = 0; code < count; code += 1) {
    const sign = code >= count / 2 ? -1 : 1;
    const magnitude = code & (count / 2 - 1);
    const exponent = magnitude >> fractionBits;
    const fraction = magnitude & (2 ** fractionBits - 1);
    // float8e4m3fn has no infinity, and one NaN of each sign.
    const isSpecial = type === 'float8e4m3fn' ? magnitude === 0x7f : exponent === 2 ** exponentBits - 1;
    if (isSpecial) table[code] = type === 'float8e4m3fn' || fraction !== 0 ? NaN : sign * Infinity;
    else if (exponent === 0) table[code] = sign * fraction * 2 ** (1 - bias - fractionBits);
    else table[code] = sign * (1 + fraction / 2 ** fractionBits) * 2 ** (exponent - bias);
  }
  return table;
}

function float16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 and more would round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7bff;
  if (magnitude < 0x38800000) return sign | subnormal(magnitude, 113, 14);
  const rebased = magnitude - 0x38000000;
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

function bfloat16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7fc0;
  if (magnitude >= 0x7f7f8000) return sign | 0x7f7f;
  return sign | ((magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16);
}

function float8Bits(bits: number): number {
  const sign = (bits >>> 24) & 0x80;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7f;
  // 448 is the largest; 464 would round to what the next code would be, were it a number.
  if (magnitude >= 0x43e00000) return sign | 0x7e;
  if (magnitude < 0x3c800000) return sign | subnormal(magnitude, 121, 21);
  const rebased = magnitude - 0x3c000000;
  return sign | ((rebased + 0x7ffff + ((rebased >>> 20) & 1)) >>> 20);
}

/**
 * The fraction of a number below the smallest normal one of the narrow format.
 *
 * @param exponent - biased float32 exponent of that smallest normal number
 * @param shift - of the 24-bit significand of a number with that exponent, to the narrow format's last place
 */
function subnormal(magnitude: number, exponent: number, shift: number): number {
  const own = magnitude >>> 23;
  const by = shift - 1 + (exponent - own);
  // Below half of the smallest number, and all that float32 itself has as subnormals.
  if (by > 24 || own === 0) return 0;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const cut = significand >>> by;
  const rest = significand & ((1 << by) - 1);
  const half = 1 << (by - 1);
  return rest > half || (rest === half && (cut & 1) === 1) ? cut + 1 : cut;
}
