import type { Dimension, Shape } from '../value-type.ts';
import { InferenceConflict, showShape, tensor, unknownDims, type InferRule, type RuleContext } from './rule.ts';

/** Resize: by scales or sizes (inputs 2 and 3; in opset 10 scales are input 1), on all axes or on `axes` (opset 18). */
export const resize: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  const scaleIndex = context.opset < 11 ? 1 : 2;
  const axes = (context.node.ints('axes') ?? data.map((_, axis) => axis)).map((axis) =>
    context.axis(axis, data.length),
  );
  const sizesGiven = context.has(3) && context.shape(3)?.[0] !== 0;
  if (sizesGiven) return [tensor(type, bySizes(context, data, axes))];
  const scales = context.numbers(scaleIndex);
  if (scales === undefined || scales.length === 0) return [tensor(type, unknownDims(data.length))];
  return [tensor(type, byScales(context, data, axes, scales))];
};

/** Upsample: scales by attribute (opset 7) or input 1 (opset 9). */
export const upsample: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  const scales = context.node.floats('scales') ?? context.numbers(1);
  if (scales === undefined) return [tensor(type, unknownDims(data.length))];
  return [tensor(type, byScales(context, data, [...data.keys()], scales))];
};

function bySizes(context: RuleContext, data: Shape, axes: readonly number[]): Shape {
  const sizes = context.values(3);
  if (sizes === undefined) return data.map((size, axis) => (axes.includes(axis) ? null : size));
  if (sizes.length !== axes.length) {
    throw new InferenceConflict(`sizes has ${sizes.length} values for ${axes.length} axes of ${showShape(data)}`);
  }
  const policy = context.node.string('keep_aspect_ratio_policy', 'stretch');
  const result: Dimension[] = [...data];
  if (policy === 'stretch') {
    for (const [at, axis] of axes.entries()) result[axis] = sizes[at] ?? null;
    return result;
  }
  const ratios = axes.map((axis, at) => ratio(sizes[at] ?? null, data[axis] ?? null));
  const known = ratios.every((value) => value !== null);
  const scale = policy === 'not_larger' ? Math.min(...ratios.map(Number)) : Math.max(...ratios.map(Number));
  for (const axis of axes) {
    const size = data[axis];
    result[axis] = known && typeof size === 'number' ? Math.round(size * scale) : null;
  }
  return result;
}

function ratio(wanted: Dimension, size: Dimension): number | null {
  return typeof wanted === 'number' && typeof size === 'number' && size > 0 ? wanted / size : null;
}

function byScales(context: RuleContext, data: Shape, axes: readonly number[], scales: readonly number[]): Shape {
  if (scales.length !== axes.length) {
    throw new InferenceConflict(`scales has ${scales.length} values for ${axes.length} axes of ${showShape(data)}`);
  }
  const result: Dimension[] = [...data];
  for (const [at, axis] of axes.entries()) {
    const scale = scales[at] ?? 1;
    const size = data[axis] ?? null;
    if (!(scale > 0)) throw new InferenceConflict(`scale ${scale} of axis ${axis} must be positive`);
    // A symbolic size times a whole factor stays exact; times a fraction it is unknown.
    if (scale === 1) continue;
    if (typeof size === 'number') result[axis] = Math.floor(size * scale);
    else result[axis] = Number.isInteger(scale) ? context.symbols.multiply(size, scale) : shrunk(context, size, scale);
  }
  return result;
}

/** 1/2, 1/4 … of a symbolic size: floor(size / n). */
function shrunk(context: RuleContext, size: Dimension, scale: number): Dimension {
  const divisor = Math.round(1 / scale);
  return divisor > 1 && scale * divisor === 1 ? context.symbols.floorDivide(size, divisor) : null;
}
