import type { Dimension } from '../value-type.ts';
import {
  InferenceConflict,
  MAX_TRACKED_ELEMENTS,
  showShape,
  tensor,
  unknownDims,
  type InferRule,
  type RuleContext,
} from './rule.ts';
import { allPositions, selectElements } from './tracked-elements.ts';
import { fixedDims } from './value-arithmetic.ts';

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
  if (count !== undefined && count > data.length) {
    throw new InferenceConflict(`starts has ${count} values, input is ${showShape(data)}`);
  }
  const axes =
    axesGiven === 'absent'
      ? count === undefined
        ? undefined
        : Array.from({ length: count }, (_, axis) => axis)
      : axesGiven;
  if (axes === undefined) return [tensor(type, unknownDims(data.length))];
  const stepsUnknown = byInput && context.has(4) && steps === undefined;
  const shape = [...data];
  const picks = context.values(0) === undefined ? undefined : fixedDims(data)?.map(allPositions);
  let isFollowed = picks !== undefined;
  for (const [at, given] of axes.entries()) {
    const axis = context.axis(given, data.length);
    const [start, end, step] = [starts?.[at] ?? null, ends?.[at] ?? null, stepsUnknown ? null : (steps?.[at] ?? 1)];
    if (step === 0) throw new InferenceConflict('steps contains 0');
    const size = data[axis] ?? null;
    shape[axis] = step === null ? null : slicedSize(context, size, [start, end, step]);
    if (!isFollowed) continue;
    const positions = slicedPositions(size, start, end, step);
    if (positions === undefined) isFollowed = false;
    else if (picks !== undefined) picks[axis] = positions;
  }
  const [values, fixed] = [context.values(0), fixedDims(data)];
  const isKnown = isFollowed && values !== undefined && fixed !== undefined && picks !== undefined;
  return [tensor(type, shape, isKnown ? selectElements(values, fixed, picks) : undefined)];
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

/** The positions along one axis that a slice takes; undefined when they are not known or too many to track. */
function slicedPositions(size: Dimension, start: Dimension, end: Dimension, step: number | null): number[] | undefined {
  if (typeof size !== 'number' || typeof start !== 'number' || typeof end !== 'number' || step === null)
    return undefined;
  const [from, to] = clampRange(size, start, end, step);
  if (Math.abs(to - from) > MAX_TRACKED_ELEMENTS * Math.abs(step)) return undefined;
  const positions: number[] = [];
  for (let at = from; step > 0 ? at < to : at > to; at += step) positions.push(at);
  return positions;
}

function clampRange(size: number, start: number, end: number, step: number): [number, number] {
  const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
  const from = start < 0 ? start + size : start;
  const to = end < 0 ? end + size : end;
  return step > 0 ? [clamp(from, 0, size), clamp(to, 0, size)] : [clamp(from, 0, size - 1), clamp(to, -1, size - 1)];
}
