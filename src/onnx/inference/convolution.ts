import type { Dimension, Shape } from '../value-type.ts';
import {
  InferenceConflict,
  sameSize,
  showShape,
  tensor,
  unknownDims,
  type InferRule,
  type RuleContext,
} from './rule.ts';

/** Attributes of a sliding window over the spatial axes, with their defaults filled in. */
interface Window {
  readonly kernel: readonly Dimension[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  readonly autoPad: string;
  readonly ceil: boolean;
}

/** Conv, X [N, C, spatial...], W [M, C/group, kernel...] -> [N, M, spatial']. */
export const conv: InferRule = (context) => [tensor(context.elementType(0), convShape(context, 0, 1))];

/** The output shape of a convolution whose data and weight are these inputs. */
export function convShape(context: RuleContext, dataIndex: number, weightIndex: number): Shape | undefined {
  const data = context.shape(dataIndex);
  const weight = context.shape(weightIndex);
  const rank = data?.length ?? weight?.length;
  if (rank === undefined) return undefined;
  if (rank < 3) throw new InferenceConflict(`input is ${showShape(data)}, a convolution needs rank 3 or more`);
  if (data !== undefined && weight !== undefined && data.length !== weight.length) {
    throw new InferenceConflict(`input ${showShape(data)} and weight ${showShape(weight)} differ in rank`);
  }
  const group = context.node.int('group', 1);
  const [channels, weightChannels] = [data?.[1] ?? null, weight?.[1] ?? null];
  if (typeof channels === 'number' && typeof weightChannels === 'number' && channels !== weightChannels * group) {
    throw new InferenceConflict(
      `weight ${showShape(weight)} with group ${group} needs ${weightChannels * group} input channels, got ${channels}`,
    );
  }
  const filters = weight?.[0] ?? null;
  if (typeof filters === 'number' && filters % group !== 0) {
    throw new InferenceConflict(`weight ${showShape(weight)}: ${filters} filters do not divide into ${group} groups`);
  }
  const window = windowOf(context, rank - 2, weight?.slice(2) ?? unknownDims(rank - 2));
  const spatial = (data?.slice(2) ?? unknownDims(rank - 2)).map((size, axis) => slide(context, size, window, axis));
  return [data?.[0] ?? null, filters, ...spatial];
}

/** ConvTranspose, X [N, C, ...], W [C, M/group, kernel...] -> [N, M, ...]. */
export const convTranspose: InferRule = (context) => {
  const { node, symbols } = context;
  const data = context.shape(0);
  const weight = context.shape(1);
  const rank = data?.length ?? weight?.length;
  if (rank === undefined) return [tensor(context.elementType(0), undefined)];
  if (rank < 3) throw new InferenceConflict(`input is ${showShape(data)}, a convolution needs rank 3 or more`);
  sameSize(data?.[1] ?? null, weight?.[0] ?? null, 'input channels');
  const filters = symbols.multiply(weight?.[1] ?? null, node.int('group', 1));
  const window = windowOf(context, rank - 2, weight?.slice(2) ?? unknownDims(rank - 2));
  const outputShape = node.ints('output_shape');
  const outputPadding = node.ints('output_padding') ?? new Array<number>(rank - 2).fill(0);
  const spatial = (data?.slice(2) ?? unknownDims(rank - 2)).map((size, axis): Dimension => {
    // Some exporters write the full shape, N and C included.
    if (outputShape !== undefined) return outputShape[outputShape.length - (rank - 2) + axis] ?? null;
    const stride = window.strides[axis] ?? 1;
    if (window.autoPad.startsWith('SAME')) return symbols.multiply(size, stride);
    const steps = symbols.multiply(symbols.subtract(size, 1), stride);
    const extent = symbols.add(effectiveKernel(context, window, axis), outputPadding[axis] ?? 0);
    const padding = window.autoPad === 'VALID' ? 0 : (window.pads[axis] ?? 0) + (window.pads[axis + rank - 2] ?? 0);
    return positive(symbols.subtract(symbols.add(steps, extent), padding), 'output', axis);
  });
  return [tensor(context.elementType(0), [data?.[0] ?? null, filters, ...spatial])];
};

/** MaxPool, AveragePool, LpPool: [N, C, spatial...] -> [N, C, spatial'...]; MaxPool's second output holds indices. */
export const pool: InferRule = (context) => {
  const shape = pooledShape(context, 0);
  return [tensor(context.elementType(0), shape), tensor('int64', shape)];
};

export function pooledShape(context: RuleContext, dataIndex: number): Shape | undefined {
  const data = context.shape(dataIndex);
  const kernel = context.node.ints('kernel_shape');
  if (data === undefined) return undefined;
  if (data.length < 3) throw new InferenceConflict(`input is ${showShape(data)}, pooling needs rank 3 or more`);
  if (kernel?.length !== data.length - 2) {
    throw new InferenceConflict(`kernel_shape [${kernel?.join(', ') ?? ''}] does not fit input ${showShape(data)}`);
  }
  const window = windowOf(context, data.length - 2, kernel);
  return [...data.slice(0, 2), ...data.slice(2).map((size, axis) => slide(context, size, window, axis))];
}

/** Global pooling: every spatial size becomes 1. */
export const globalPool: InferRule = (context) => [
  tensor(
    context.elementType(0),
    context.shape(0)?.map((size, axis) => (axis < 2 ? size : 1)),
  ),
];

/** MaxUnpool: the inverse arithmetic of MaxPool, or the shape given as third input. */
export const maxUnpool: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  if (context.has(2)) return [tensor(type, context.values(2) ?? unknownDims(data.length))];
  const { symbols } = context;
  const window = windowOf(context, data.length - 2, context.node.ints('kernel_shape') ?? []);
  const spatial = data.slice(2).map((size, axis) => {
    const padding = (window.pads[axis] ?? 0) + (window.pads[axis + data.length - 2] ?? 0);
    const steps = symbols.multiply(symbols.subtract(size, 1), window.strides[axis] ?? 1);
    return symbols.subtract(symbols.add(steps, window.kernel[axis] ?? null), padding);
  });
  return [tensor(type, [...data.slice(0, 2), ...spatial])];
};

function windowOf(context: RuleContext, spatialRank: number, kernel: readonly Dimension[]): Window {
  const { node } = context;
  const ones = new Array<number>(spatialRank).fill(1);
  const attribute = (name: string, length: number, fallback: readonly number[]): readonly number[] => {
    const values = node.ints(name);
    if (values === undefined) return fallback;
    if (values.length !== length) {
      throw new InferenceConflict(`${name} [${values.join(', ')}] has ${values.length} values, expected ${length}`);
    }
    return values;
  };
  const strides = attribute('strides', spatialRank, ones);
  const dilations = attribute('dilations', spatialRank, ones);
  for (const [name, values] of [['strides', strides] as const, ['dilations', dilations] as const]) {
    if (values.some((value) => value < 1))
      throw new InferenceConflict(`${name} [${values.join(', ')}] must be positive`);
  }
  return {
    kernel: attributeKernel(context, kernel),
    strides,
    dilations,
    pads: attribute('pads', 2 * spatialRank, new Array<number>(2 * spatialRank).fill(0)),
    autoPad: node.string('auto_pad', 'NOTSET'),
    ceil: node.int('ceil_mode', 0) === 1,
  };
}

/** kernel_shape, where given, must agree with the weight. */
function attributeKernel(context: RuleContext, kernel: readonly Dimension[]): readonly Dimension[] {
  const given = context.node.ints('kernel_shape');
  if (given === undefined) return kernel;
  if (given.length !== kernel.length) {
    throw new InferenceConflict(`kernel_shape [${given.join(', ')}] does not fit a kernel ${showShape(kernel)}`);
  }
  return given.map((size, axis) => sameSize(size, kernel[axis] ?? null, 'kernel_shape and weight'));
}

function effectiveKernel(context: RuleContext, window: Window, axis: number): Dimension {
  const { symbols } = context;
  const size = window.kernel[axis] ?? null;
  return symbols.add(symbols.multiply(symbols.subtract(size, 1), window.dilations[axis] ?? 1), 1);
}

/** Output size of a window along one spatial axis. */
function slide(context: RuleContext, size: Dimension, window: Window, axis: number): Dimension {
  const { symbols } = context;
  const stride = window.strides[axis] ?? 1;
  if (window.autoPad.startsWith('SAME')) return symbols.ceilDivide(size, stride);
  const [begin, end] = [window.pads[axis] ?? 0, window.pads[axis + window.pads.length / 2] ?? 0];
  const padding = window.autoPad === 'VALID' ? 0 : begin + end;
  const span = symbols.subtract(symbols.add(size, padding), effectiveKernel(context, window, axis));
  if (!window.ceil) return positive(symbols.add(symbols.floorDivide(span, stride), 1), 'output', axis);
  const steps = symbols.add(symbols.ceilDivide(span, stride), 1);
  // A window that would start in the end padding is not counted (ONNX MaxPool, ceil_mode).
  if (typeof steps === 'number' && typeof size === 'number' && (steps - 1) * stride >= size + begin) return steps - 1;
  return positive(steps, 'output', axis);
}

function positive(size: Dimension, what: string, axis: number): Dimension {
  if (typeof size === 'number' && size < 0) {
    throw new InferenceConflict(
      `${what} size along spatial axis ${axis} would be ${size}: the kernel exceeds the input`,
    );
  }
  return size;
}
