import { roundHalfEven } from '../../numerics/round-half-even.ts';
import type { QuantRange } from './quant-type.ts';

/** real = (code - zeroPoint) * scale. `scale` is a float32 value above 0; `zeroPoint` is an integer of the type. */
export interface QuantParams {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Below this a scale is no longer a normal float32, and dividing by it overflows. */
const FLOAT32_TINY = 2 ** -126;

/**
 * Affine parameters that cover [min, max] and represent 0 exactly.
 *
 * @param min - smallest value, in real units; a positive one is widened to 0
 * @param max - largest value, in real units; a negative one is widened to 0
 * @param range - codes to use, for example `QUANT_RANGE.uint8`
 * @param symmetric - the zero point is the middle of `range`
 * @returns the scale as float32, the zero point computed with the unrounded scale; a range of one point gives scale 1
 * @throws RangeError when min > max or either is not finite
 * @see Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
 *   CVPR 2018, eq. 1 and section 3
 */
export function affineParams(min: number, max: number, range: QuantRange, symmetric: boolean): QuantParams {
  if (!Number.isFinite(min) || !Number.isFinite(max) || min > max) {
    throw new RangeError(`range [${min}, ${max}] is not an interval of finite numbers`);
  }
  let low = Math.min(min, 0);
  let high = Math.max(max, 0);
  if (symmetric) {
    high = Math.max(-low, high);
    low = -high;
  }
  const [qmin, qmax] = range;
  const scale = (high - low) / (qmax - qmin);
  const middle = roundHalfEven((qmin + qmax) / 2);
  if (scale < FLOAT32_TINY) return { scale: 1, zeroPoint: symmetric ? middle : Math.min(Math.max(0, qmin), qmax) };
  const zeroPoint = symmetric ? middle : roundHalfEven(qmin - low / scale);
  return { scale: Math.fround(scale), zeroPoint: Math.min(Math.max(zeroPoint, qmin), qmax) };
}

/**
 * The next power of two at or above the scale, so that requantizing is a shift. The zero point is computed anew, because
 * the real range grew.
 */
export function powerOfTwoParams(min: number, max: number, range: QuantRange, symmetric: boolean): QuantParams {
  const exact = affineParams(min, max, range, symmetric);
  const scale = 2 ** Math.ceil(Math.log2(exact.scale));
  if (symmetric) return { scale, zeroPoint: exact.zeroPoint };
  const [qmin, qmax] = range;
  const zeroPoint = roundHalfEven(qmin - Math.min(min, 0) / scale);
  return { scale, zeroPoint: Math.min(Math.max(zeroPoint, qmin), qmax) };
}

/** One value by QuantizeLinear: division in float32, half to even, saturating at `range`. */
export function quantizeValue(x: number, { scale, zeroPoint }: QuantParams, [qmin, qmax]: QuantRange): number {
  return Math.min(Math.max(roundHalfEven(Math.fround(x / scale)) + zeroPoint, qmin), qmax);
}
