import { isPackedType } from '../../onnx/packed-integers.ts';
import { roundHalfEven } from '../../numerics/round-half-even.ts';
import { affineParams, powerOfTwoParams } from './affine.ts';
import { QUANT_RANGE, SYMMETRIC_RANGE, allocateQuantized, type QuantType, type WeightType } from './quant-type.ts';
import type { Interval } from './thresholds.ts';
import { leastErrorScale } from './weight-scale-search.ts';

/** Which codes a weight may take. */
export type WeightRange =
  /** All of the type's: needs a CPU that multiplies and adds bytes without saturation (VNNI, dot product). */
  | 'full'
  /** int8 only: no two codes of a channel can saturate int16, see `pairSafeScale`. */
  | 'pair-safe';

export interface WeightScheme {
  readonly type: WeightType;
  readonly symmetric: boolean;
  readonly range: WeightRange;
  readonly powerOfTwo: boolean;
  /** What the codes cover in place of the range of the values, which are clipped to it. */
  readonly interval?: Interval;
}

/** Weights in integers, with one scale and zero point, or one a channel. */
export interface QuantizedWeight {
  readonly codes: ReturnType<typeof allocateQuantized>;
  readonly scales: Float32Array;
  readonly zeroPoints: Int32Array;
}

/**
 * A view of a tensor as [outer, channels, inner]: channel c of element (o, i) lies at (o * channels + c) * inner + i.
 * Per tensor: channels = 1.
 */
export interface ChannelLayout {
  readonly outer: number;
  readonly channels: number;
  readonly inner: number;
}

/** @param axis - the channel axis (negative counts from the end); undefined for one scale for the whole tensor */
export function channelLayout(dims: readonly number[], axis: number | undefined): ChannelLayout {
  const count = dims.reduce((product, dim) => product * dim, 1);
  if (axis === undefined) return { outer: 1, channels: 1, inner: count };
  const at = axis < 0 ? axis + dims.length : axis;
  const channels = dims[at];
  if (channels === undefined) throw new RangeError(`axis ${axis} is not an axis of [${dims.join(', ')}]`);
  const inner = dims.slice(at + 1).reduce((product, dim) => product * dim, 1);
  return { outer: dims.slice(0, at).reduce((product, dim) => product * dim, 1), channels, inner };
}

/** What one pass over a channel tells: enough to choose any scheme's scale. */
interface ChannelExtremes {
  min: number;
  max: number;
  /** The second largest value and the second smallest one, no farther than zero. */
  secondMin: number;
  secondMax: number;
}

/**
 * Chooses scale and zero point of each channel: to cover all weights, or, below 8 bits, for the least squared error. O(n) time, four numbers a channel.
 *
 * @returns scales in float32 and zero points; a channel of zeros gets scale 1
 */
export function weightParams(
  values: Float32Array,
  layout: ChannelLayout,
  scheme: WeightScheme,
): { scales: Float32Array; zeroPoints: Int32Array } {
  const scales = new Float32Array(layout.channels);
  const zeroPoints = new Int32Array(layout.channels);
  for (let channel = 0; channel < layout.channels; channel += 1) {
    const extremes = extremesOf(values, layout, channel);
    const { min, max } = scheme.interval ?? extremes;
    const range = scheme.symmetric ? SYMMETRIC_RANGE[scheme.type] : QUANT_RANGE[scheme.type];
    const choose = scheme.powerOfTwo ? powerOfTwoParams : affineParams;
    const params = choose(min, max, range, scheme.symmetric);
    const { scale } = params;
    const isSearched = isPackedType(scheme.type) && !scheme.powerOfTwo && scheme.interval === undefined;
    scales[channel] = isSearched
      ? leastErrorScale(values, layout, channel, { ...params, range })
      : scheme.range === 'pair-safe'
        ? pairSafeScale(extremes, scale, scheme)
        : scale;
    zeroPoints[channel] = params.zeroPoint;
  }
  return { scales, zeroPoints };
}

/** Rounds every value to its channel's grid (ONNX QuantizeLinear). O(n). */
export function quantizeWeight(
  values: Float32Array,
  layout: ChannelLayout,
  type: QuantType,
  params: { readonly scales: Float32Array; readonly zeroPoints: Int32Array },
): QuantizedWeight {
  const codes = allocateQuantized(type, values.length);
  const [qmin, qmax] = QUANT_RANGE[type];
  const { outer, channels, inner } = layout;
  for (let o = 0; o < outer; o += 1) {
    for (let c = 0; c < channels; c += 1) {
      const scale = params.scales[c] ?? 1;
      const zeroPoint = params.zeroPoints[c] ?? 0;
      const from = (o * channels + c) * inner;
      for (let i = from; i < from + inner; i += 1) {
        const code = roundHalfEven(Math.fround((values[i] ?? 0) / scale)) + zeroPoint;
        codes[i] = code < qmin ? qmin : code > qmax ? qmax : code;
      }
    }
  }
  return { codes, scales: params.scales, zeroPoints: params.zeroPoints };
}

/**
 * x64 without VNNI multiplies bytes with VPMADDUBSW: it adds two products u8 * s8 in int16, saturating. With both
 * activations at 255 the sum stays inside when two weights of equal sign add up to at most 128 (255 * 128 = 32640 <=
 * 32767, and >= -32768 likewise), whichever two the kernel happens to pair. That asks less than 7-bit weights do, where
 * every single weight is held to 64: the scale only follows the two largest weights of equal sign.
 */
const PAIR_LIMIT = 128;

function pairSafeScale(extremes: ChannelExtremes, scale: number, scheme: WeightScheme): number {
  const highest = extremes.max;
  const lowest = extremes.min;
  const pairHigh = highest + extremes.secondMax;
  const pairLow = -(lowest + extremes.secondMin);
  let safe = Math.max(scale, Math.fround(Math.max(pairHigh, pairLow) / PAIR_LIMIT));
  if (scheme.powerOfTwo) safe = 2 ** Math.ceil(Math.log2(safe));
  const code = (value: number): number => roundHalfEven(Math.fround(value / safe));
  // Both halves may round up, so the sum of the codes can pass the limit by one; a slightly larger scale ends that.
  while (
    code(highest) + code(extremes.secondMax) > PAIR_LIMIT ||
    -(code(lowest) + code(extremes.secondMin)) > PAIR_LIMIT
  ) {
    safe = scheme.powerOfTwo ? safe * 2 : Math.fround(safe * (1 + 2 ** -10));
  }
  return safe;
}

function extremesOf(values: Float32Array, layout: ChannelLayout, channel: number): ChannelExtremes {
  const extremes: ChannelExtremes = { min: 0, max: 0, secondMin: 0, secondMax: 0 };
  const { outer, channels, inner } = layout;
  let { min, max, secondMin, secondMax } = extremes;
  for (let o = 0; o < outer; o += 1) {
    const from = (o * channels + channel) * inner;
    for (let i = from; i < from + inner; i += 1) {
      const value = values[i] ?? 0;
      if (value > secondMax) {
        if (value > max) {
          secondMax = max;
          max = value;
        } else secondMax = value;
      } else if (value < secondMin) {
        if (value < min) {
          secondMin = min;
          min = value;
        } else secondMin = value;
      }
    }
  }
  return { min, max, secondMin, secondMax };
}

/** True when some two int8 codes of one channel could saturate int16 in VPMADDUBSW (see `pairSafeScale`). */
export function canSaturatePairs(codes: ArrayLike<number>, layout: ChannelLayout): boolean {
  const { outer, channels, inner } = layout;
  for (let c = 0; c < channels; c += 1) {
    let max = 0;
    let secondMax = 0;
    let min = 0;
    let secondMin = 0;
    for (let o = 0; o < outer; o += 1) {
      const from = (o * channels + c) * inner;
      for (let i = from; i < from + inner; i += 1) {
        const code = codes[i] ?? 0;
        if (code > max) {
          secondMax = max;
          max = code;
        } else if (code > secondMax) secondMax = code;
        if (code < min) {
          secondMin = min;
          min = code;
        } else if (code < secondMin) secondMin = code;
      }
    }
    if (max + secondMax > PAIR_LIMIT || -(min + secondMin) > PAIR_LIMIT) return true;
  }
  return false;
}

/**
 * Takes int8 codes of a channel back so far that no two of equal sign add up to more than `PAIR_LIMIT`: the largest stays, the others
 * give way. Codes that were rounded to nearest on a pair-safe scale already fulfil that. Changes `codes`; O(n).
 */
export function limitPairs(codes: Int8Array | Uint8Array | Int16Array | Uint16Array, layout: ChannelLayout): void {
  const { outer, channels, inner } = layout;
  for (const sign of [1, -1]) {
    for (let c = 0; c < channels; c += 1) {
      let [largest, place] = [0, -1];
      for (let o = 0; o < outer; o += 1) {
        const from = (o * channels + c) * inner;
        for (let i = from; i < from + inner; i += 1) {
          const size = sign * (codes[i] ?? 0);
          if (size > largest) [largest, place] = [size, i];
        }
      }
      if (largest <= PAIR_LIMIT / 2) continue;
      for (let o = 0; o < outer; o += 1) {
        const from = (o * channels + c) * inner;
        for (let i = from; i < from + inner; i += 1) {
          if (i !== place && sign * (codes[i] ?? 0) > PAIR_LIMIT - largest) codes[i] = sign * (PAIR_LIMIT - largest);
        }
      }
    }
  }
}

/** Values beyond a given range are put at its end: in it, codes of a pair-safe scale stay pair-safe. O(n). */
export function clippedTo(values: Float32Array, { interval, symmetric }: WeightScheme): Float32Array {
  if (interval === undefined) return values;
  const size = Math.max(-interval.min, interval.max);
  const [min, max] = symmetric ? [-size, size] : [interval.min, interval.max];
  return values.map((value) => Math.min(Math.max(value, min), max));
}

/** O(n). */
export function allFinite(values: Float32Array): boolean {
  const count = values.length;
  for (let i = 0; i < count; i += 1) if (!Number.isFinite(values[i])) return false;
  return true;
}
