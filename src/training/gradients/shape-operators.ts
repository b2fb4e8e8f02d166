import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { GradientRule } from './gradient-rule.ts';
import { at } from './window.ts';

/** Y = X in another shape (Reshape, Flatten, Squeeze, Unsqueeze): dX = dY in X's shape. */
export const reshapeGradient: GradientRule = (node, b) => [b.reshape(node.gradient(), node.inputShape(0))];

/** Y = X with axes permuted: dX = dY with the inverse permutation. */
export const transposeGradient: GradientRule = (node, b) => {
  const rank = node.inputShape(0).length;
  const perm = node.node.ints('perm') ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  return [
    b.transpose(
      node.gradient(),
      perm.map((_, axis) => perm.indexOf(axis)),
    ),
  ];
};

/** Y = X broadcast to a shape: dX = dY summed over what was repeated. */
export const expandGradient: GradientRule = (node, b) => [
  b.unbroadcast(node.gradient(), node.inputShape(0)),
  undefined,
];

/** Y = X repeated r times along each axis: dX = the sum over the repetitions. */
export const tileGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const repeats = node.constant(1);
  const split = shape.flatMap((size, axis) => [at(repeats, axis), size]);
  const sum = b.sum(
    b.reshape(node.gradient(), split),
    shape.flatMap((_, axis) => (at(repeats, axis) === 1 ? [] : [2 * axis])),
    0,
  );
  return [b.reshape(sum, shape), undefined];
};

/** Y = inputs side by side: each gets its piece of dY. */
export const concatGradient: GradientRule = (node, b) => {
  const axis = node.axis(node.node.int('axis', 0));
  const sizes = node.node.inputs.map((_, index) => at(node.inputShape(index), axis));
  if (sizes.length === 1) return [node.gradient()];
  const needed = sizes.filter((_, index) => node.needs(index)).length;
  if (needed === sizes.length) return b.ops('Split', [node.gradient(), b.ints(sizes)], sizes.length, { axis });
  let start = 0;
  return sizes.map((size, index) => {
    const [from, to] = [start, start + size];
    start = to;
    return node.needs(index) ? b.slice(node.gradient(), { axes: [axis], starts: [from], ends: [to] }) : undefined;
  });
};

/** Y1, Y2, .. = pieces of X: dX = their gradients side by side, zeros for a piece that nobody reads. */
export const splitGradient: GradientRule = (node, b) => {
  const axis = node.axis(node.node.int('axis', 0));
  const given = node.node.outputs.map((_, index) => index).filter((index) => node.hasGradient(index));
  const [first = 0] = given;
  const like = node.gradient(first);
  const pieces = node.node.outputs.map((output, index) => {
    if (node.hasGradient(index)) return node.gradient(index);
    return b.zeros(b.shape(output), like);
  });
  return [pieces.length === 1 ? like : b.op('Concat', pieces, { axis }), undefined];
};

/**
 * Y = X[start : end : step]: dX = dY at those places, zeros between and around. A negative step is turned round first;
 * steps are spread by a Reshape to [.., o, 1], a Pad to [.., o, step] and a Reshape to [.., o step].
 */
export const sliceGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const output = node.outputShape();
  const starts = node.node.ints('starts') ?? node.constant(1);
  const axes = (node.ints('axes', 3) ?? starts.map((_, index) => index)).map((axis) => node.axis(axis));
  const steps = node.has(4) ? node.constant(4) : starts.map(() => 1);
  let gradient = node.gradient();
  if (elementCount(output) === 0) return [b.zeros(shape, gradient)];

  const reversed = axes.filter((_, index) => at(steps, index) < 0);
  if (reversed.length > 0) gradient = flip(b, gradient, reversed);
  const before = shape.map(() => 0);
  const behind = shape.map(() => 0);
  const sizes = [...output];
  for (const [index, axis] of axes.entries()) {
    const size = at(shape, axis);
    const step = at(steps, index);
    const stride = Math.abs(step);
    const start = Math.min(
      Math.max(at(starts, index) + (at(starts, index) < 0 ? size : 0), 0),
      step < 0 ? size - 1 : size,
    );
    const count = at(output, axis);
    const lowest = step < 0 ? start - (count - 1) * stride : start;
    if (stride > 1 && count > 1) {
      const lead = elementCount(sizes.slice(0, axis));
      const rest = elementCount(sizes.slice(axis + 1));
      const spread = b.pad(b.reshape(gradient, [lead, count, 1, rest]), [0, 0, 0, 0], [0, 0, stride - 1, 0]);
      sizes[axis] = count * stride;
      gradient = b.reshape(spread, sizes);
    }
    before[axis] = lowest;
    // Negative where the spread reaches beyond the end: Pad crops.
    behind[axis] = size - lowest - at(sizes, axis);
  }
  return [b.pad(gradient, before, behind)];
};

function flip(b: GradientBuilder, a: string, axes: readonly number[]): string {
  return b.slice(a, {
    axes,
    starts: axes.map(() => -1),
    ends: axes.map(() => -(2 ** 31)),
    steps: axes.map(() => -1),
  });
}

/**
 * Y = X with borders. constant: dX = dY without them (negative pads), and the constant gets none. reflect, edge, wrap:
 * each axis is Y = F X with a 0/1 matrix F that says where an element came from, so dX = Fᵀ dY.
 */
export const padGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const given = node.node.ints('pads') ?? node.constant(1);
  const axes = (node.ints('axes', 3) ?? shape.map((_, axis) => axis)).map((axis) => node.axis(axis));
  const before = shape.map(() => 0);
  const behind = shape.map(() => 0);
  for (const [index, axis] of axes.entries()) {
    before[axis] = at(given, index, 0);
    behind[axis] = at(given, index + axes.length, 0);
  }
  const mode = node.node.string('mode', 'constant');
  if (node.needs(2)) throw node.unsupported('its padding value is to be trained');
  if (mode === 'constant')
    return [
      b.pad(
        node.gradient(),
        before.map((pad) => -pad),
        behind.map((pad) => -pad),
      ),
    ];
  let gradient = node.gradient();
  for (const [axis, size] of shape.entries()) {
    const [lead, trail] = [at(before, axis, 0), at(behind, axis, 0)];
    if (lead === 0 && trail === 0) continue;
    const padded = size + lead + trail;
    const fold = new Float32Array(size * padded);
    for (let place = 0; place < padded; place += 1) fold[sourceOf(place - lead, size, mode) * padded + place] = 1;
    gradient = b.applyAlong(gradient, axis, b.constant(fold, [size, padded], gradient));
  }
  return [gradient];
};

/** Where the element at `place` (negative: before the start) comes from. */
function sourceOf(place: number, size: number, mode: string): number {
  if (mode === 'edge') return Math.min(Math.max(place, 0), size - 1);
  if (mode === 'wrap') return ((place % size) + size) % size;
  if (size === 1) return 0;
  const period = 2 * (size - 1);
  const within = ((place % period) + period) % period;
  return within < size ? within : period - within;
}

/** Y = X with blocks of channels laid out in space: dX = dY gathered back, the inverse permutation. */
export const depthToSpaceGradient: GradientRule = (node, b) => {
  const block = node.node.int('blocksize', 1);
  const [batch = 1, channels = 1, height = 1, width = 1] = node.inputShape(0);
  const depth = channels / block ** 2;
  const split = b.reshape(node.gradient(), [batch, depth, height, block, width, block]);
  // DCR: channel = (row of block, column of block, depth); CRD: (depth, row, column).
  const perm = node.node.string('mode', 'DCR') === 'CRD' ? [0, 1, 3, 5, 2, 4] : [0, 3, 5, 1, 2, 4];
  return [b.reshape(b.transpose(split, perm), [batch, channels, height, width])];
};

/** Y = X with blocks of space laid into channels: dX = DepthToSpace(dY) of the same block size. */
export const spaceToDepthGradient: GradientRule = (node, b) => [
  b.op('DepthToSpace', [node.gradient()], { blocksize: node.node.int('blocksize', 1), mode: 'DCR' }),
];

/** Y = upper or lower triangle of X: dX = the same triangle of dY. */
export const triluGradient: GradientRule = (node, b) => {
  const inputs = node.has(1) ? [node.gradient(), node.input(1)] : [node.gradient()];
  return [b.op('Trilu', inputs, { upper: node.node.int('upper', 1) }), undefined];
};
