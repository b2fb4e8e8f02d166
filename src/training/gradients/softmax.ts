import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientRule } from './gradient-rule.ts';

/** Y = softmax X along an axis: dX = (dY - sum(dY Y)) Y. Bridle 1990. */
export const softmaxGradient: GradientRule = (node, b) => {
  const [y, dY] = [node.output(), node.gradient()];
  const axis = node.axis(node.node.int('axis', -1));
  return [b.mul(b.sub(dY, b.sum(b.mul(dY, y), [axis], 1)), y)];
};

/** Y = log softmax X along an axis: dX = dY - e^Y sum(dY). */
export const logSoftmaxGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const axis = node.axis(node.node.int('axis', -1));
  return [b.sub(dY, b.mul(b.op('Exp', [node.output()]), b.sum(dY, [axis], 1)))];
};

/**
 * Cross-entropy of scores [N, K, ...] and class indices, weighted and with an ignored class:
 * dX = (softmax X - onehot) w_label / n, n the count (or sum of weights) of what is not ignored; 0 in ignored places.
 */
export const softmaxCrossEntropyGradient: GradientRule = (node, b) => {
  if (node.hasGradient(1))
    throw node.unsupported('its log-probabilities are read too; use LogSoftmax and a loss on it');
  return [rowGradients(node, b, true), undefined, undefined];
};

/** Negative log-likelihood of log-probabilities [N, K, ...]: dX = -onehot w_label / n, 0 in ignored places. */
export const negativeLogLikelihoodGradient: GradientRule = (node, b) => [
  rowGradients(node, b, false),
  undefined,
  undefined,
];

function rowGradients(
  node: Parameters<GradientRule>[0],
  b: Parameters<GradientRule>[1],
  isCrossEntropy: boolean,
): string {
  const [x, labels, dY] = [node.input(0), node.input(1), node.gradient()];
  const shape = node.inputShape(0);
  const [batch = 1, classes = 1, ...positions] = shape;
  const reduction = node.node.string('reduction', 'mean');
  const ignored = node.node.attributes.has('ignore_index') ? node.node.int('ignore_index', 0) : undefined;
  const long = b.op('Cast', [labels], { to: 7 });
  const isIgnored = ignored === undefined ? undefined : b.op('Equal', [long, b.ints([ignored], [])]);
  // An ignored label may lie outside of the classes: class 0 stands in its place and the weight 0 removes it.
  const safe = isIgnored === undefined ? long : b.where(isIgnored, b.ints([0], []), long);
  const values = b.constant([0, 1], [2], x);
  const target = b.op('OneHot', [safe, b.ints([classes]), values], { axis: 1 });
  const flatShape = [batch, ...positions];
  let weights = node.has(2) ? b.op('Gather', [node.input(2), safe]) : undefined;
  if (isIgnored !== undefined) {
    const kept = b.op('CastLike', [b.op('Not', [isIgnored]), x]);
    weights = weights === undefined ? kept : b.mul(weights, kept);
  }
  const rows = isCrossEntropy ? b.sub(b.op('Softmax', [x], { axis: 1 }), target) : b.op('Neg', [target]);
  let factor = weights;
  if (reduction === 'none') factor = weights === undefined ? dY : b.mul(weights, dY);
  else {
    let scale = dY;
    if (reduction === 'mean') {
      if (weights === undefined) scale = b.scale(dY, 1 / elementCount(flatShape));
      else scale = b.div(dY, b.op('ReduceSum', [weights], { keepdims: 0 }));
    }
    if (factor === undefined) return b.mul(rows, scale);
    factor = b.mul(factor, scale);
  }
  return b.mul(rows, b.reshape(factor, [batch, 1, ...positions]));
}
