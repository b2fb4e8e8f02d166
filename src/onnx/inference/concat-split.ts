import type { Dimension, Shape } from '../value-type.ts';
import {
  InferenceConflict,
  MAX_TRACKED_ELEMENTS,
  sameSize,
  showShape,
  tensor,
  unknownDims,
  type Inferred,
  type InferRule,
  type RuleContext,
} from './rule.ts';

export const concat: InferRule = (context) => [concatenated(context, 0, context.inputCount)];

/** Concat of inputs `from` to `to` along the attribute `axis` (default 1, as before opset 4). */
export function concatenated(context: RuleContext, from: number, to: number): Inferred | undefined {
  const indices = Array.from({ length: to - from }, (_, offset) => from + offset);
  const type = context.elementType(from);
  for (const index of indices) {
    const other = context.elementType(index);
    if (type !== undefined && other !== undefined && other !== type) {
      throw new InferenceConflict(`input ${index} is ${other}, the first is ${type}`);
    }
  }
  const shapes = indices.map((index) => context.shape(index));
  const rank = shapes.find((shape) => shape !== undefined)?.length;
  if (rank === undefined) return tensor(type, undefined);
  const axis = context.axis(context.node.int('axis', 1), rank);
  let result: Dimension[] | undefined;
  for (const shape of shapes) {
    const current: Shape = shape ?? unknownDims(rank);
    if (current.length !== rank) {
      throw new InferenceConflict(`inputs differ in rank: ${shapes.map((each) => showShape(each)).join(', ')}`);
    }
    const before: readonly Dimension[] | undefined = result;
    result =
      before === undefined
        ? [...current]
        : current.map((size, at) =>
            at === axis
              ? context.symbols.add(before[at] ?? null, size)
              : sameSize(before[at] ?? null, size, `axis ${at} of the inputs`),
          );
  }
  return tensor(type, result, rank === 1 ? joinedValues(context, indices, shapes) : undefined);
}

function joinedValues(
  context: RuleContext,
  indices: readonly number[],
  shapes: readonly (Shape | undefined)[],
): Dimension[] | undefined {
  const values: Dimension[] = [];
  for (const [at, index] of indices.entries()) {
    const length = shapes[at]?.[0];
    const own = context.values(index) ?? (typeof length === 'number' && length <= 64 ? unknownDims(length) : undefined);
    if (own === undefined || values.length + own.length > MAX_TRACKED_ELEMENTS) return undefined;
    values.push(...own);
  }
  return values.some((value) => value !== null) ? values : undefined;
}

/** Split: sizes by attribute or input, else equal parts (the last one smaller since opset 18 with num_outputs). */
export const split: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  const outputs = context.outputCount;
  if (data === undefined) return new Array<Inferred | undefined>(outputs).fill(tensor(type, undefined));
  const axis = context.axis(context.node.int('axis', 0), data.length);
  const sizes = splitSizes(context, data[axis] ?? null);
  const values = data.length === 1 ? context.values(0) : undefined;
  let at: number | undefined = 0;
  return sizes.map((size) => {
    const end: number | undefined = typeof size === 'number' && at !== undefined ? at + size : undefined;
    const part = end === undefined ? undefined : values?.slice(at, end);
    at = end;
    return tensor(
      type,
      data.map((own, position) => (position === axis ? size : own)),
      part,
    );
  });
};

function splitSizes(context: RuleContext, total: Dimension): readonly Dimension[] {
  const { node, symbols } = context;
  const outputs = context.outputCount;
  const given: readonly Dimension[] | undefined =
    node.ints('split') ?? (context.has(1) ? (context.values(1) ?? []) : undefined);
  if (given !== undefined) {
    if (given.length === 0) return unknownDims(outputs);
    if (given.length !== outputs) throw new InferenceConflict(`split has ${given.length} sizes for ${outputs} outputs`);
    const sum = symbols.sum(given);
    if (typeof sum === 'number' && typeof total === 'number' && sum !== total) {
      throw new InferenceConflict(`split [${given.join(', ')}] adds up to ${sum}, the axis has ${total}`);
    }
    return given;
  }
  if (context.opset >= 18) {
    const part = symbols.ceilDivide(total, outputs);
    if (typeof total !== 'number' || typeof part !== 'number') {
      const even = symbols.divideExactly(total, outputs);
      return typeof total === 'number' || outputs === 1
        ? new Array<Dimension>(outputs).fill(even ?? null)
        : unknownDims(outputs);
    }
    return Array.from({ length: outputs }, (_, index) => Math.max(0, Math.min(part, total - part * index)));
  }
  const part = symbols.divideExactly(total, outputs);
  if (part === undefined) throw new InferenceConflict(`${total ?? '?'} does not split into ${outputs} equal parts`);
  return new Array<Dimension>(outputs).fill(part);
}

/** Slice by attributes (opset 1) or by inputs (opset 10). */
export const slice: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  const byInput = context.node.attributes.get('starts') === undefined;
  const starts: readonly Dimension[] | undefined = byInput ? context.values(1) : boundsAttribute(context, 'starts');
  const ends: readonly Dimension[] | undefined = byInput ? context.values(2) : boundsAttribute(context, 'ends');
  const axesGiven = context.intsFrom('axes', 3);
  const steps = byInput && context.has(4) ? context.numbers(4) : undefined;
  if (axesGiven === 'unknown') return [tensor(type, unknownDims(data.length))];
  const count =
    starts?.length ??
    ends?.length ??
    (typeof context.shape(1)?.[0] === 'number' ? Number(context.shape(1)?.[0]) : undefined);
  const axes =
    axesGiven === 'absent'
      ? count === undefined
        ? undefined
        : Array.from({ length: count }, (_, axis) => axis)
      : axesGiven;
  if (axes === undefined) return [tensor(type, unknownDims(data.length))];
  const stepsUnknown = byInput && context.has(4) && steps === undefined;
  const shape = [...data];
  let values = data.length === 1 ? context.values(0) : undefined;
  for (const [at, given] of axes.entries()) {
    const axis = context.axis(given, data.length);
    const [start, end, step] = [starts?.[at] ?? null, ends?.[at] ?? null, stepsUnknown ? null : (steps?.[at] ?? 1)];
    if (step === 0) throw new InferenceConflict('steps contains 0');
    const size = data[axis] ?? null;
    shape[axis] = step === null ? null : slicedSize(context, size, [start, end, step]);
    values = values === undefined ? undefined : slicedValues(values, start, end, step);
  }
  return [tensor(type, shape, values)];
};

/** A bound may be INT64_MAX, which no number holds exactly: beyond 2^53 it is infinite. */
function boundsAttribute(context: RuleContext, name: string): number[] | undefined {
  const attribute = context.node.attributes.get(name);
  if (attribute?.kind !== 'ints') return undefined;
  return attribute.value.map((value) => {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : number > 0 ? Infinity : -Infinity;
  });
}

function slicedSize(context: RuleContext, size: Dimension, range: readonly [Dimension, Dimension, number]): Dimension {
  const { symbols } = context;
  const [start, end, step] = range;
  if (typeof size === 'number' && typeof start === 'number' && typeof end === 'number') {
    const [from, to] = clampRange(size, start, end, step);
    return Math.max(0, Math.ceil((to - from) / step));
  }
  if (size === null || start === null || end === null) return null;
  if (step < 0) return start === -1 && end === -Infinity ? symbols.ceilDivide(size, -step) : null;
  const from = boundOf(context, size, start);
  const to = boundOf(context, size, end);
  const span = symbols.subtract(to, from);
  return typeof span === 'number' ? Math.max(0, Math.ceil(span / step)) : symbols.ceilDivide(span, step);
}

/** A bound within a symbolic size; negative ones count from the end. */
function boundOf(context: RuleContext, size: Dimension, bound: Dimension): Dimension {
  const { symbols } = context;
  if (bound === Infinity) return size;
  if (bound === -Infinity || bound === 0) return 0;
  if (typeof bound === 'number' && bound < 0) return symbols.add(size, bound);
  return symbols.min(bound, size);
}

function slicedValues(
  values: readonly Dimension[],
  start: Dimension,
  end: Dimension,
  step: number | null,
): Dimension[] | undefined {
  if (typeof start !== 'number' || typeof end !== 'number' || step === null) return undefined;
  const [from, to] = clampRange(values.length, start, end, step);
  const result: Dimension[] = [];
  for (let at = from; step > 0 ? at < to : at > to; at += step) result.push(values[at] ?? null);
  return result;
}

function clampRange(size: number, start: number, end: number, step: number): [number, number] {
  const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
  const from = start < 0 ? start + size : start;
  const to = end < 0 ? end + size : end;
  return step > 0 ? [clamp(from, 0, size), clamp(to, 0, size)] : [clamp(from, 0, size - 1), clamp(to, -1, size - 1)];
}

/** Pad: pads by attribute (before opset 11) or input, on all axes or on `axes` (opset 18). */
export const pad: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  const pads: readonly Dimension[] | undefined =
    context.node.ints('pads') ?? context.node.ints('paddings') ?? context.values(1);
  const axesGiven = context.has(3) ? context.numbers(3) : data.map((_, axis) => axis);
  if (pads === undefined || axesGiven === undefined) return [tensor(type, unknownDims(data.length))];
  if (pads.length !== 2 * axesGiven.length) {
    throw new InferenceConflict(`pads has ${pads.length} values, ${showShape(data)} needs ${2 * axesGiven.length}`);
  }
  const shape = [...data];
  for (const [at, axis] of axesGiven.entries()) {
    const position = context.axis(axis, data.length);
    const added = context.symbols.add(pads[at] ?? null, pads[at + axesGiven.length] ?? null);
    const size = context.symbols.add(data[position] ?? null, added);
    if (typeof size === 'number' && size < 0) throw new InferenceConflict(`pads make axis ${position} ${size} long`);
    shape[position] = size;
  }
  return [tensor(type, shape)];
};
