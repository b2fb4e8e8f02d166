import type { Dimension, Shape } from '../value-type.ts';
import {
  InferenceConflict,
  MAX_TRACKED_ELEMENTS,
  showShape,
  tensor,
  unknownDims,
  type InferRule,
  type RuleContext,
} from './rule.ts';
import { allPositions, selectElements, transposeElements } from './tracked-elements.ts';
import { expandElements, fixedDims } from './value-arithmetic.ts';

/** Reshape: the target comes from an attribute (opset 1) or input 1; 0 copies, -1 takes the rest. */
export const reshape: InferRule = (context) => {
  const target: readonly Dimension[] | undefined = context.node.ints('shape') ?? context.values(1);
  const type = context.elementType(0);
  if (target !== undefined) {
    return [tensor(type, reshapedShape(context, target), context.values(0))];
  }
  const length = context.shape(1)?.[0];
  return [tensor(type, typeof length === 'number' ? unknownDims(length) : undefined, context.values(0))];
};

function reshapedShape(context: RuleContext, target: readonly Dimension[]): Shape {
  const { symbols } = context;
  const data = context.shape(0);
  const allowZero = context.node.int('allowzero', 0) !== 0;
  const sizes: Dimension[] = target.map((size, axis) => {
    if (size !== 0 || allowZero) return size;
    if (data !== undefined && axis >= data.length) {
      throw new InferenceConflict(`shape ${showShape(target)} copies axis ${axis}, input is ${showShape(data)}`);
    }
    return data?.[axis] ?? null;
  });
  if (sizes.some((size) => typeof size === 'number' && size < -1)) {
    throw new InferenceConflict(`shape ${showShape(target)} has a negative size`);
  }
  const open = sizes.indexOf(-1);
  if (sizes.lastIndexOf(-1) !== open) throw new InferenceConflict(`shape ${showShape(target)} has -1 more than once`);
  const total = data === undefined ? null : symbols.product(data);
  if (open >= 0) {
    const others = sizes.filter((_, axis) => axis !== open);
    const rest = data === undefined ? null : dividedProduct(context, data, others);
    if (rest === undefined) {
      throw new InferenceConflict(`${showShape(data)} cannot become ${showShape(target)}: sizes do not divide`);
    }
    sizes[open] = rest;
    return sizes;
  }
  const product = symbols.product(sizes);
  if (typeof total === 'number' && typeof product === 'number' && total !== product) {
    throw new InferenceConflict(`${showShape(data)} has ${total} elements, ${showShape(target)} needs ${product}`);
  }
  // One unknown size follows from the others.
  const unknown = sizes.indexOf(null);
  if (unknown >= 0 && sizes.lastIndexOf(null) === unknown && data !== undefined) {
    const others = sizes.filter((_, axis) => axis !== unknown);
    sizes[unknown] = dividedProduct(context, data, others) ?? null;
  }
  return sizes;
}

/** product(data) / product(others), equal sizes cancelled first so that unknown ones may cancel too. */
function dividedProduct(context: RuleContext, data: Shape, others: readonly Dimension[]): Dimension | undefined {
  const remaining = [...data];
  const divisors: Dimension[] = [];
  for (const size of others) {
    const at = size === null ? -1 : remaining.indexOf(size);
    if (at >= 0 && size !== 0) remaining.splice(at, 1);
    else divisors.push(size);
  }
  return context.symbols.divideExactly(context.symbols.product(remaining), context.symbols.product(divisors));
}

export const flatten: InferRule = (context) => {
  const data = context.shape(0);
  if (data === undefined) return [tensor(context.elementType(0), unknownDims(2))];
  const given = context.node.int('axis', 1);
  if (given < -data.length || given > data.length) {
    throw new InferenceConflict(`axis ${given} is out of range for ${showShape(data)}`);
  }
  const axis = given < 0 ? given + data.length : given;
  const { symbols } = context;
  return [tensor(context.elementType(0), [symbols.product(data.slice(0, axis)), symbols.product(data.slice(axis))])];
};

export const transpose: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  const given = context.node.ints('perm');
  if (data === undefined) return [tensor(type, given === undefined ? undefined : unknownDims(given.length))];
  const perm =
    given?.map((axis) => context.axis(axis, data.length, 'perm')) ?? data.map((_, axis) => data.length - 1 - axis);
  if (perm.length !== data.length || new Set(perm).size !== perm.length) {
    throw new InferenceConflict(`perm [${perm.join(', ')}] does not fit ${showShape(data)}`);
  }
  const shape = perm.map((axis) => data[axis] ?? null);
  const [values, dims] = [context.values(0), fixedDims(data)];
  const isFollowed = values !== undefined && dims !== undefined;
  return [tensor(type, shape, isFollowed ? transposeElements(values, dims, perm) : undefined)];
};

export const squeeze: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  const given = context.intsFrom('axes', 1);
  if (data === undefined || given === 'unknown') return [tensor(type, undefined, context.values(0))];
  if (given === 'absent') {
    const known = data.every((size) => typeof size === 'number');
    return [tensor(type, known ? data.filter((size) => size !== 1) : undefined, context.values(0))];
  }
  const axes = new Set(given.map((axis) => context.axis(axis, data.length)));
  for (const axis of axes) {
    const size = data[axis];
    if (typeof size === 'number' && size !== 1) {
      throw new InferenceConflict(`axis ${axis} of ${showShape(data)} is ${size}, only 1 can be squeezed`);
    }
  }
  return [
    tensor(
      type,
      data.filter((_, axis) => !axes.has(axis)),
      context.values(0),
    ),
  ];
};

export const unsqueeze: InferRule = (context) => {
  const data = context.shape(0);
  const type = context.elementType(0);
  const given = context.intsFrom('axes', 1);
  if (data === undefined || typeof given === 'string') return [tensor(type, undefined, context.values(0))];
  const rank = data.length + given.length;
  const axes = new Set(given.map((axis) => context.axis(axis, rank)));
  if (axes.size !== given.length) throw new InferenceConflict(`axes [${given.join(', ')}] repeat an axis`);
  const shape: Dimension[] = [];
  let source = 0;
  for (let axis = 0; axis < rank; axis += 1) shape.push(axes.has(axis) ? 1 : (data[source++] ?? null));
  return [tensor(type, shape, context.values(0))];
};

/** Expand: numpy broadcasting of the data and the wanted shape, both ways. */
export const expand: InferRule = (context) => {
  const data = context.shape(0);
  const wanted = context.values(1);
  const type = context.elementType(0);
  if (wanted === undefined || data === undefined) {
    const length = context.shape(1)?.[0];
    const rank = typeof length === 'number' && data !== undefined ? Math.max(length, data.length) : undefined;
    return [tensor(type, rank === undefined ? undefined : unknownDims(rank))];
  }
  const shape = broadcastTo(context, data, wanted);
  return [tensor(type, shape, expandElements(context.values(0), data, shape))];
};

function broadcastTo(context: RuleContext, data: Shape, wanted: Shape): Shape {
  const rank = Math.max(data.length, wanted.length);
  const at = (shape: Shape, axis: number): Dimension =>
    axis < rank - shape.length ? 1 : (shape[axis - (rank - shape.length)] ?? null);
  return Array.from({ length: rank }, (_, axis) => {
    const size = context.symbols.broadcast(at(data, axis), at(wanted, axis));
    if (size === undefined) {
      throw new InferenceConflict(`${showShape(data)} does not expand to ${showShape(wanted)}`);
    }
    return size;
  });
}

export const tile: InferRule = (context) => {
  const data = context.shape(0);
  const repeats = context.values(1);
  const type = context.elementType(0);
  if (data === undefined) return [tensor(type, undefined)];
  if (context.opset < 6 || repeats === undefined) return [tensor(type, unknownDims(data.length))];
  if (repeats.length !== data.length) {
    throw new InferenceConflict(`repeats has ${repeats.length} values, input is ${showShape(data)}`);
  }
  const shape = data.map((size, axis) => context.symbols.multiply(size, repeats[axis] ?? null));
  return [tensor(type, shape, tiledValues(context, data, repeats))];
};

function tiledValues(context: RuleContext, data: Shape, repeats: readonly Dimension[]): Dimension[] | undefined {
  const [values, dims, times] = [context.values(0), fixedDims(data), fixedDims(repeats)];
  if (values === undefined || dims === undefined || times === undefined) return undefined;
  if (values.length * times.reduce((product, count) => product * count, 1) > MAX_TRACKED_ELEMENTS) return undefined;
  const indices = dims.map((size, axis) => {
    const positions = allPositions(size);
    return Array.from({ length: times[axis] ?? 1 }, () => positions).flat();
  });
  return selectElements(values, dims, indices);
}

/** DepthToSpace: [N, C, H, W] -> [N, C/b^2, H*b, W*b]. */
export const depthToSpace: InferRule = (context) => {
  const [n, c, h, w] = rank4(context);
  const block = context.node.int('blocksize', 1);
  const { symbols } = context;
  const channels = symbols.divideExactly(c, block * block);
  if (channels === undefined) {
    throw new InferenceConflict(`${c ?? '?'} channels do not divide by blocksize ${block} squared`);
  }
  return [tensor(context.elementType(0), [n, channels, symbols.multiply(h, block), symbols.multiply(w, block)])];
};

/** SpaceToDepth: [N, C, H, W] -> [N, C*b^2, H/b, W/b]. */
export const spaceToDepth: InferRule = (context) => {
  const [n, c, h, w] = rank4(context);
  const block = context.node.int('blocksize', 1);
  const { symbols } = context;
  const [height, width] = [symbols.divideExactly(h, block), symbols.divideExactly(w, block)];
  if (height === undefined || width === undefined) {
    throw new InferenceConflict(`${showShape([h, w])} does not divide by blocksize ${block}`);
  }
  return [tensor(context.elementType(0), [n, symbols.multiply(c, block * block), height, width])];
};

function rank4(context: RuleContext): [Dimension, Dimension, Dimension, Dimension] {
  const data = context.shape(0);
  if (data !== undefined && data.length !== 4) throw new InferenceConflict(`needs rank 4, got ${showShape(data)}`);
  return [data?.[0] ?? null, data?.[1] ?? null, data?.[2] ?? null, data?.[3] ?? null];
}
