import { dataTypeOfCode, type DataType } from '../data-type.ts';
import type { Dimension, Shape } from '../value-type.ts';
import {
  InferenceConflict,
  MAX_TRACKED_ELEMENTS,
  tensor,
  unknownDims,
  type InferRule,
  type RuleContext,
} from './rule.ts';
import { inferredTensor, trackedElements } from './tensor-values.ts';
import { fixedDims } from './value-arithmetic.ts';

/** Constant, by whichever of its attributes is set. */
export const constant: InferRule = ({ node }) => {
  for (const [name, attribute] of node.attributes) {
    switch (attribute.kind) {
      case 'tensor':
        return [inferredTensor(attribute.value)];
      case 'float':
        return [tensor('float', [], [attribute.value])];
      case 'int':
        return [tensor('int64', [], [Number(attribute.value)])];
      case 'string':
        return [tensor('string', [])];
      case 'floats':
        return [tensor('float', [attribute.value.length], attribute.value)];
      case 'ints':
        return [tensor('int64', [attribute.value.length], attribute.value.map(Number))];
      case 'strings':
        return [tensor('string', [attribute.value.length])];
      case 'sparse-tensor':
      case 'graph':
      case 'type':
      case 'tensors':
      case 'graphs':
      case 'sparse-tensors':
      case 'types':
      case 'reference':
        if (name === 'value') return [undefined];
    }
  }
  return [undefined];
};

/** Shape: sizes of input 0, from `start` to `end` since opset 15. */
export const shapeOf: InferRule = (context) => {
  const data = context.shape(0);
  if (data === undefined) return [tensor('int64', [null])];
  const clamp = (value: number): number => Math.min(Math.max(value < 0 ? value + data.length : value, 0), data.length);
  const start = clamp(context.node.int('start', 0));
  const end = clamp(context.node.int('end', data.length));
  const values = data.slice(start, Math.max(start, end));
  return [tensor('int64', [values.length], values)];
};

export const sizeOf: InferRule = (context) => {
  const data = context.shape(0);
  return [tensor('int64', [], data === undefined ? undefined : [context.symbols.product(data)])];
};

export const constantOfShape: InferRule = (context) => {
  const attribute = context.node.attributes.get('value');
  const value = attribute?.kind === 'tensor' ? attribute.value : undefined;
  const type: DataType = value?.dataType ?? 'float';
  const shape = shapeFromInput(context, 0);
  const fixed = fixedDims(shape);
  const count = fixed?.reduce((product, size) => product * size, 1);
  if (count === undefined || count > MAX_TRACKED_ELEMENTS) return [tensor(type, shape)];
  const [element] = value === undefined ? [0] : (trackedElements(value) ?? [null]);
  return [tensor(type, shape, new Array<Dimension>(count).fill(element ?? null))];
};

/** A shape held in a tracked int64 input; unknown sizes when only its length is known. */
export function shapeFromInput(context: RuleContext, index: number): Shape | undefined {
  const values = context.values(index);
  if (values !== undefined) {
    for (const size of values) {
      if (typeof size === 'number' && size < 0) throw new InferenceConflict(`shape input has a negative size ${size}`);
    }
    return values;
  }
  const length = context.shape(index)?.[0];
  return typeof length === 'number' ? unknownDims(length) : undefined;
}

export const range: InferRule = (context) => {
  const type = context.elementType(0);
  const [start, limit, delta] = [0, 1, 2].map((index) => context.values(index)?.[0] ?? null);
  const whole = type === 'int64' || type === 'int32' || type === 'int16';
  if (typeof start === 'number' && typeof limit === 'number' && typeof delta === 'number') {
    if (delta === 0) throw new InferenceConflict('delta is 0');
    const count = Math.max(0, Math.ceil((limit - start) / delta));
    if (!Number.isSafeInteger(count))
      throw new InferenceConflict('the range has more elements than an index can count');
    const values =
      whole && count <= MAX_TRACKED_ELEMENTS ? Array.from({ length: count }, (_, at) => start + at * delta) : undefined;
    return [tensor(type, [count], values)];
  }
  if (whole && typeof delta === 'number' && delta > 0) {
    const span = context.symbols.subtract(limit ?? null, start ?? null);
    return [tensor(type, [context.symbols.ceilDivide(span, delta)])];
  }
  return [tensor(type, [null])];
};

/** RandomNormal, RandomUniform: shape and dtype by attribute. */
export const random: InferRule = ({ node }) => [tensor(dataTypeOfCode(node.int('dtype', 1)), node.ints('shape'))];

/** RandomNormalLike, RandomUniformLike, Bernoulli, EyeLike: shape of the input, dtype by attribute or the input's. */
export const likeInput: InferRule = (context) => {
  const code = context.node.int('dtype', 0);
  return [tensor(code === 0 ? context.elementType(0) : dataTypeOfCode(code), context.shape(0))];
};

/** Multinomial: [batch, classes] -> [batch, sample_size]. */
export const multinomial: InferRule = (context) => [
  tensor(dataTypeOfCode(context.node.int('dtype', 6)), [
    context.shape(0)?.[0] ?? null,
    context.node.int('sample_size', 1),
  ]),
];

/** HannWindow, HammingWindow, BlackmanWindow: a vector whose length is the input's value. */
export const window: InferRule = (context) => [
  tensor(dataTypeOfCode(context.node.int('output_datatype', 1)), [context.values(0)?.[0] ?? null]),
];
