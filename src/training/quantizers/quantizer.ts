import { roundHalfEven } from '../../numerics/round-half-even.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { Bounds, OwnParameter } from '../forward-rewrite.ts';
import { FAKE_QUANTIZE, SCALE_GRADIENT, type ScaleGradient } from './fake-quantize.ts';
import { TERSOR } from './marked-function.ts';

/**
 * - `fixed`: the scale it starts with stays.
 * - `max`: the scale follows from the values at each step, largest magnitude / high; no gradient.
 * - `lsq`, `lsq+`: a learned scale, for `lsq+` with a learned zero point.
 * - `pact`: a learned clipping level, scale * high, pulled to zero by L2.
 */
export type QuantizerKind = 'fixed' | 'max' | 'lsq' | 'lsq+' | 'pact';

/** A quantizer of a training graph: what it starts from. */
export interface Quantizer {
  /** Base of its parameters' names. */
  readonly name: string;
  readonly kind: QuantizerKind;
  /** Codes it may take. */
  readonly range: readonly [qmin: number, qmax: number];
  readonly zeroPoint: number;
  /** A part of a step that every value lies beside its code: scale * (code - zeroPoint + offset); default 0. For `lsq` alone. */
  readonly offset?: number;
  /** Above 0, of shape `dims`, which broadcasts with the values. */
  readonly scales: Float32Array;
  readonly dims: readonly number[];
}

/** A quantizer in a graph. */
export interface WrittenQuantizer {
  readonly value: string;
  /** The scale as a value of the graph. */
  readonly scale: string;
  readonly parameters: readonly OwnParameter[];
  readonly bounds: ReadonlyMap<string, Bounds>;
}

/** What a quantizer has come to. */
export interface QuantizerState {
  readonly scales: Float32Array;
  readonly zeroPoint: number;
}

/** A scale may become this much smaller than at the start; it stays above 0. */
const SMALLEST_SHARE = 2 ** -10;
/** Below this a scale is no longer a normal float32. */
export const SMALLEST_SCALE = 2 ** -100;
const PACT_L2 = 1e-4;

/**
 * Writes a quantizer behind a value.
 *
 * @param elements - of the value for each scale: LSQ's gradients are divided by sqrt(elements * largest code)
 * @see Esser et al., "Learned Step Size Quantization", ICLR 2020, section 2.2
 */
export function writeQuantizer(
  b: GraphBuilder,
  input: string,
  quantizer: Quantizer,
  elements: number,
): WrittenQuantizer {
  const { name, kind, range, zeroPoint, offset = 0, scales, dims } = quantizer;
  const [low, high] = [range[0] - zeroPoint, range[1] - zeroPoint];
  const smallest = scales.reduce((a, c) => Math.min(a, c)) * SMALLEST_SHARE;
  const gradientScale = 1 / Math.sqrt(elements * Math.max(high, 1));
  const float = (part: string, values: ArrayLike<number>, shape: readonly number[]): string =>
    b.initializer(Tensor.float(`${name}.${part}`, values, shape));
  const quantize = (scale: string, bounds: readonly [string, string], gradient: ScaleGradient, value = input): string =>
    b.op(FAKE_QUANTIZE, [value, scale, ...bounds], {
      domain: TERSOR,
      name: `${name}.quantize`,
      attributes: { [SCALE_GRADIENT]: gradient },
    });
  const fixedBounds = (): readonly [string, string] => [b.float(`${name}.low`, low), b.float(`${name}.high`, high)];
  const own = (parameter: string, factor: number, l2 = 0): OwnParameter => ({
    name: parameter,
    gradientScale: factor,
    l2,
  });
  switch (kind) {
    case 'fixed':
    case 'max': {
      const scale = kind === 'max' ? largestMagnitude(b, input, quantizer) : float('scale', scales, dims);
      return { value: quantize(scale, fixedBounds(), 'none'), scale, parameters: [], bounds: NONE };
    }
    case 'lsq': {
      const scale = float('scale', scales, dims);
      const shift = offset === 0 ? undefined : b.op('Mul', [scale, b.float(`${name}.offset`, offset)]);
      const rounded = quantize(scale, fixedBounds(), 'lsq', shift === undefined ? input : b.op('Sub', [input, shift]));
      return {
        value: shift === undefined ? rounded : b.op('Add', [rounded, shift], { name: `${name}.shifted` }),
        scale,
        parameters: [own(scale, gradientScale)],
        bounds: new Map([[scale, { low: smallest }]]),
      };
    }
    case 'lsq+': {
      const scale = float('scale', scales, dims);
      const zero = float('zero_point', [zeroPoint], []);
      const rounded = b.op('Round', [zero], { name: `${name}.zero` });
      const bound = (code: number): string =>
        b.op('Sub', [b.float(`${name}.code`, code), rounded], { name: `${name}.bound` });
      // The paper's offset is -zero * scale: a step of the offset is one of the zero point divided by the scale, twice.
      const steps = gradientScale / (scales[0] ?? 1) ** 2;
      return {
        value: quantize(scale, [bound(range[0]), bound(range[1])], 'lsq'),
        scale,
        parameters: [own(scale, gradientScale), own(zero, steps)],
        bounds: new Map([
          [scale, { low: smallest }],
          [zero, { low: range[0], high: range[1] }],
        ]),
      };
    }
    case 'pact': {
      const level = float(
        'level',
        scales.map((scale) => scale * high),
        dims,
      );
      const scale = b.op('Mul', [level, b.float(`${name}.share`, 1 / high)], { name: `${name}.scale` });
      return {
        value: quantize(scale, fixedBounds(), 'pact'),
        scale,
        parameters: [own(level, 1, PACT_L2)],
        bounds: new Map([[level, { low: smallest * high }]]),
      };
    }
  }
}

const NONE: ReadonlyMap<string, Bounds> = new Map();

function largestMagnitude(b: GraphBuilder, input: string, { name, range, dims }: Quantizer): string {
  const axes = dims.flatMap((size, axis) => (size === 1 ? [axis] : []));
  const magnitude = b.op('Abs', [input], { name: `${name}.magnitude` });
  const largest = b.op('ReduceMax', [magnitude, ...(axes.length === 0 ? [] : [b.ints(`${name}.axes`, axes)])], {
    attributes: { keepdims: dims.length > 0 ? 1 : 0 },
    name: `${name}.largest`,
  });
  const scale = b.op('Div', [largest, b.float(`${name}.high`, range[1])], { name: `${name}.scale` });
  return b.op('Max', [scale, b.float(`${name}.smallest`, SMALLEST_SCALE)]);
}

/**
 * Scale and zero point after training, to the bit as the graph computes them.
 *
 * @param values - of the training run, by name
 * @param data - what is quantized, for a scale that follows from it: as in `dims`, channels by channels
 */
export function quantizerState(
  quantizer: Quantizer,
  values: ReadonlyMap<string, Float32Array>,
  data: { readonly values: Float32Array; readonly channelOf: (index: number) => number } | undefined,
): QuantizerState {
  const { name, kind, range, zeroPoint, scales } = quantizer;
  const high = range[1] - zeroPoint;
  switch (kind) {
    case 'fixed':
      return { scales, zeroPoint };
    case 'max': {
      const largest = new Float32Array(scales.length);
      data?.values.forEach((value, i) => {
        const channel = data.channelOf(i);
        largest[channel] = Math.max(largest[channel] ?? 0, Math.abs(value));
      });
      return {
        scales: largest.map((value) => Math.max(Math.fround(value / range[1]), SMALLEST_SCALE)),
        zeroPoint,
      };
    }
    case 'lsq':
      return { scales: values.get(`${name}.scale`) ?? scales, zeroPoint };
    case 'lsq+': {
      const [zero = zeroPoint] = values.get(`${name}.zero_point`) ?? [];
      return { scales: values.get(`${name}.scale`) ?? scales, zeroPoint: roundHalfEven(zero) };
    }
    case 'pact': {
      const share = Math.fround(1 / high);
      const levels = values.get(`${name}.level`);
      return { scales: levels?.map((level) => level * share) ?? scales, zeroPoint };
    }
  }
}

/** Elements a scale stands for. */
export function elementsPerScale(shape: readonly number[], { dims }: Quantizer): number {
  return elementCount(shape) / elementCount(dims);
}
