import { roundHalfEven } from '../numerics/round-half-even.ts';

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** The number an IEEE 754 binary16 stands for. */
export function float16ToNumber(half: number): number {
  const sign = (half & 0x8000) !== 0 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest binary16, ties to even; beyond 65504 infinity. */
export function numberToFloat16(number: number): number {
  const sign = number < 0 || Object.is(number, -0) ? 0x8000 : 0;
  const size = Math.abs(number);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundHalfEven(size * 2 ** 24);
  let exponent = Math.floor(Math.log2(size));
  if (2 ** exponent > size) exponent -= 1;
  else if (2 ** (exponent + 1) <= size) exponent += 1;
  // A fraction that rounds up to 1024 carries into the exponent by plain addition.
  return sign | (((exponent + 15) << 10) + roundHalfEven((size / 2 ** exponent - 1) * 1024));
}

/** The number a bfloat16 stands for: the upper half of a binary32. */
export function bfloat16ToNumber(half: number): number {
  bits[0] = half << 16;
  return value[0] ?? NaN;
}

/** The nearest bfloat16, ties to even. */
export function numberToBfloat16(number: number): number {
  value[0] = number;
  const word = bits[0] ?? 0;
  if (Number.isNaN(number)) return 0x7fc0;
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}
