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
import { allPositions, concatElements, selectElements } from './tracked-elements.ts';
import { fixedDims } from './value-arithmetic.ts';

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
      throw new InferenceConflict(`inputs differ in rank: one is ${showShape(shape)}, another has rank ${rank}`);
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
  return tensor(type, result, joinedValues(context, indices, axis));
}

/** Unknown elements stand as null, so that the known ones of a shape are not lost. */
function joinedValues(context: RuleContext, indices: readonly number[], axis: number): Dimension[] | undefined {
  const parts: (readonly Dimension[])[] = [];
  const dims: (readonly number[])[] = [];
  for (const index of indices) {
    const fixed = fixedDims(context.shape(index));
    if (fixed === undefined) return undefined;
    const count = fixed.reduce((product, size) => product * size, 1);
    if (count > MAX_TRACKED_ELEMENTS) return undefined;
    parts.push(context.values(index) ?? unknownDims(count));
    dims.push(fixed);
  }
  const joined = concatElements(parts, dims, axis);
  return joined?.some((value) => value !== null) === true ? joined : undefined;
}

/** Split: sizes by attribute or input, else equal parts (the last one smaller since opset 18 with num_outputs). */
export const split: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  const outputs = context.outputCount;
  if (data === undefined) return new Array<Inferred | undefined>(outputs).fill(tensor(type, undefined));
  const axis = context.axis(context.node.int('axis', 0), data.length);
  const sizes = splitSizes(context, data[axis] ?? null);
  const values = context.values(0);
  const fixed = fixedDims(data);
  let at: number | undefined = 0;
  return sizes.map((size) => {
    const end: number | undefined = typeof size === 'number' && at !== undefined ? at + size : undefined;
    const part =
      end === undefined || values === undefined || fixed === undefined
        ? undefined
        : selectElements(
            values,
            fixed,
            fixed.map((own, position) => allPositions(own).slice(...(position === axis ? [at, end] : []))),
          );
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
