import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

interface Reduction {
  readonly axes: readonly number[];
  /** The input's shape with the reduced axes set to 1. */
  readonly kept: readonly number[];
  /** Elements behind each output. */
  readonly count: number;
}

/** Undefined where nothing is reduced (noop_with_empty_axes). */
function reductionOf(node: ForwardNode): Reduction | undefined {
  const shape = node.inputShape(0);
  const given = node.ints('axes', 1) ?? [];
  if (given.length === 0 && node.node.int('noop_with_empty_axes', 0) !== 0) return undefined;
  const axes =
    given.length === 0 ? shape.map((_, axis) => axis) : given.map((axis) => node.axis(axis)).toSorted((p, q) => p - q);
  const kept = shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  return { axes, kept, count: elementCount(axes.map((axis) => shape[axis] ?? 1)) };
}

function reduction(
  gradient: (parts: { dY: string; y: string; x: string; r: Reduction; b: GradientBuilder }) => string,
): GradientRule {
  return (node, b) => {
    const r = reductionOf(node);
    const shape = node.inputShape(0);
    if (r === undefined) {
      if (!/^Reduce(Sum|Mean|Max|Min|Prod)$/.test(node.node.opType)) throw node.unsupported('it reduces no axis');
      return [node.gradient(), undefined];
    }
    const dY = b.reshape(node.gradient(), r.kept);
    const y = b.reshape(node.output(), r.kept);
    return [b.expand(gradient({ dY, y, x: node.input(0), r, b }), shape), undefined];
  };
}

/** Y = sum X: dX = dY, spread. */
export const reduceSumGradient = reduction(({ dY }) => dY);

/** Y = mean X over n: dX = dY / n, spread. */
export const reduceMeanGradient = reduction(({ dY, r, b }) => b.scale(dY, 1 / r.count));

/** Y = max or min X: dX = dY where X = Y, split evenly among equals. */
export const reduceExtremumGradient = reduction(({ dY, y, x, r, b }) => {
  const mask = b.mask(b.op('Equal', [x, y]), x);
  return b.mul(mask, b.div(dY, b.sum(mask, r.axes, 1)));
});

/** Y = sqrt(sum X^2): dX = dY X / Y, 0 where Y = 0. */
export const reduceL2Gradient = reduction(({ dY, y, x, b }) => {
  const isZero = b.op('Equal', [y, b.scalar(0, y)]);
  return b.mul(x, b.where(isZero, b.scalar(0, y), b.div(dY, b.where(isZero, b.scalar(1, y), y))));
});

/** Y = sum |X|: dX = dY sign X. */
export const reduceL1Gradient = reduction(({ dY, x, b }) => b.mul(b.op('Sign', [x]), dY));

/** Y = sum X^2: dX = 2 dY X. */
export const reduceSumSquareGradient = reduction(({ dY, x, b }) => b.mul(x, b.scale(dY, 2)));

/** Y = ln sum X: dX = dY / e^Y. */
export const reduceLogSumGradient = reduction(({ dY, y, b }) => b.div(dY, b.op('Exp', [y])));

/** Y = ln sum e^X: dX = dY e^(X - Y), the softmax. */
export const reduceLogSumExpGradient = reduction(({ dY, y, x, b }) => b.mul(b.op('Exp', [b.sub(x, y)]), dY));

/** Y = prod X: dX = dY times the product of the others, also where an element is 0. */
export const reduceProdGradient = reduction(({ dY, x, r, b }) => {
  const isZero = b.op('Equal', [x, b.scalar(0, x)]);
  const nonZero = b.where(isZero, b.scalar(1, x), x);
  const product = b.op('ReduceProd', [nonZero, b.ints(r.axes)], { keepdims: 1 });
  const zero = b.mask(isZero, x);
  const otherZeros = b.sub(b.sum(zero, r.axes, 1), zero);
  return b.mul(b.mul(b.div(product, nonZero), b.mask(b.less(otherZeros, 0.5), x)), dY);
});

/** Y = cumulative sum along an axis: dX = the cumulative sum of dY from the other end. */
export const cumSumGradient: GradientRule = (node, b) => [
  b.op('CumSum', [node.gradient(), node.input(1)], {
    exclusive: node.node.int('exclusive', 0),
    reverse: node.node.int('reverse', 0) === 0 ? 1 : 0,
  }),
  undefined,
];
