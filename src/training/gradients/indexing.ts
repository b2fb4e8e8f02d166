import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientRule } from './gradient-rule.ts';
import { at } from './window.ts';

/** Up to this many rows a product with the one-hot matrix beats scattering, and adds duplicates in parallel. */
const ONE_HOT_ROWS = 512;

/**
 * Y = rows of X along an axis: dX = sum of dY over the places that read a row. Small tables of long rows: onehotᵀ dY; else
 * (rows of one number as well: a codebook's matrix of indices would be hundreds of times as large as the weight)
 * ScatterElements with reduction "add" (ScatterND is no choice: ONNX Runtime runs its duplicates in parallel).
 */
export const gatherGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const indexShape = node.inputShape(1);
  const axis = node.axis(node.node.int('axis', 0));
  const rows = at(shape, axis);
  const count = elementCount(indexShape);
  const before = elementCount(shape.slice(0, axis));
  const behind = elementCount(shape.slice(axis + 1));
  const dY = b.reshape(node.gradient(), [before, count, behind]);
  const indices = b.op('Reshape', [node.input(1), b.ints([count])]);
  let gradient: string;
  if (rows <= ONE_HOT_ROWS && behind > 1) {
    const oneHot = b.op('OneHot', [indices, b.ints([rows]), b.constant([0, 1], [2], dY)], { axis: 0 });
    gradient = b.op('MatMul', [oneHot, dY]);
  } else {
    const places = b.op('Expand', [b.op('Reshape', [indices, b.ints([1, count, 1])]), b.ints([before, count, behind])]);
    gradient = b.op('ScatterElements', [b.zeros([before, rows, behind], dY), places, dY], {
      axis: 1,
      reduction: 'add',
    });
  }
  return [b.reshape(gradient, shape), undefined];
};

/** Y[i] = X[index[i]] along an axis: dX adds dY at these places. */
export const gatherElementsGradient: GradientRule = (node, b) => [
  b.op('ScatterElements', [b.zeros(node.inputShape(0), node.gradient()), node.input(1), node.gradient()], {
    axis: node.node.int('axis', 0),
    reduction: 'add',
  }),
  undefined,
];

/**
 * Y = X at index tuples: dX adds dY at these places. Tuples become flat positions, so that one ScatterElements adds
 * duplicates in a fixed order.
 */
export const gatherNdGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const indexShape = node.inputShape(1);
  if (node.node.int('batch_dims', 0) !== 0) throw node.unsupported('batch_dims has no gradient rule');
  const depth = indexShape.at(-1) ?? 1;
  const tuples = elementCount(indexShape) / depth;
  const rows = elementCount(shape.slice(0, depth));
  const behind = elementCount(shape.slice(depth));
  const strides = shape.slice(0, depth).map((_, axis) => elementCount(shape.slice(axis + 1, depth)));
  const index = b.op('Reshape', [node.input(1), b.ints([tuples, depth])]);
  const sizes = b.ints(shape.slice(0, depth));
  const fromFront = b.op('Mod', [b.op('Add', [index, sizes]), sizes]);
  const flat = b.op('ReduceSum', [b.op('Mul', [fromFront, b.ints(strides)]), b.ints([1])], { keepdims: 1 });
  const places = b.op('Expand', [flat, b.ints([tuples, behind])]);
  const dY = b.reshape(node.gradient(), [tuples, behind]);
  const scattered = b.op('ScatterElements', [b.zeros([rows, behind], dY), places, dY], { axis: 0, reduction: 'add' });
  return [b.reshape(scattered, shape), undefined];
};

/** Y = X with updates written (or added) at places: dX = dY, with zeros where it was overwritten; dU = dY gathered there. */
export const scatterElementsGradient: GradientRule = (node, b) => {
  const axis = node.node.int('axis', 0);
  const reduction = node.node.string('reduction', 'none');
  if (reduction !== 'none' && reduction !== 'add')
    throw node.unsupported(`reduction "${reduction}" has no gradient rule`);
  const [indices, dY] = [node.input(1), node.gradient()];
  const dX = (): string =>
    reduction === 'add' ? dY : b.op('ScatterElements', [dY, indices, b.zeros(node.inputShape(1), dY)], { axis });
  return [
    node.needs(0) ? dX() : undefined,
    undefined,
    node.needs(2) ? b.op('GatherElements', [dY, indices], { axis }) : undefined,
  ];
};

/** As ScatterElements, with index tuples. */
export const scatterNdGradient: GradientRule = (node, b) => {
  const reduction = node.node.string('reduction', 'none');
  if (reduction !== 'none' && reduction !== 'add')
    throw node.unsupported(`reduction "${reduction}" has no gradient rule`);
  const [indices, dY] = [node.input(1), node.gradient()];
  const dX = (): string =>
    reduction === 'add' ? dY : b.op('ScatterND', [dY, indices, b.zeros(node.inputShape(2), dY)]);
  return [node.needs(0) ? dX() : undefined, undefined, node.needs(2) ? b.op('GatherND', [dY, indices]) : undefined];
};

/** Values = the k largest along an axis: dX = dY at their indices. The indices themselves carry none. */
export const topKGradient: GradientRule = (node, b) => {
  const axis = node.axis(node.node.int('axis', -1));
  const dY = node.gradient();
  return [b.op('ScatterElements', [b.zeros(node.inputShape(0), dY), node.output(1), dY], { axis }), undefined];
};

/** Y = on where hot, off elsewhere: the two values get the sums of dY over their places. */
export const oneHotGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const depth =
    node.outputShape().length === 0
      ? []
      : [at(node.outputShape(), node.axis(node.node.int('axis', -1), node.outputShape().length))];
  const hot = b.op('OneHot', [node.input(0), b.ints(depth), b.constant([0, 1], [2], dY)], {
    axis: node.node.int('axis', -1),
  });
  const on = b.op('ReduceSum', [b.mul(dY, hot)], { keepdims: 0 });
  const all = b.op('ReduceSum', [dY], { keepdims: 0 });
  const parts = [b.sub(all, on), on].map((part) => b.reshape(part, [1]));
  return [undefined, undefined, b.op('Concat', parts, { axis: 0 })];
};
