import { dataTypeOfCode } from '../data-type.ts';
import type { Dimension } from '../value-type.ts';
import { InferenceConflict, sameSize, tensor, type InferRule, type RuleContext } from './rule.ts';

/** BatchNormalization: Y, and in training mode the running statistics [C] (saved ones too before opset 14). */
export const batchNormalization: InferRule = (context) => {
  const data = context.shape(0);
  const channels = perChannel(context, data?.[1] ?? null, [1, 2, 3, 4]);
  const statistics = tensor(context.elementType(3) ?? context.elementType(0), [channels]);
  return [tensor(context.elementType(0), data), statistics, statistics, statistics, statistics];
};

/** InstanceNormalization: scale and bias are [C]. */
export const instanceNormalization: InferRule = (context) => {
  const data = context.shape(0);
  perChannel(context, data?.[1] ?? null, [1, 2]);
  return [tensor(context.elementType(0), data)];
};

/** LayerNormalization: Y as X; mean and inverse deviation with the normalized axes set to 1. */
export const layerNormalization: InferRule = (context) => {
  const data = context.shape(0);
  const stash = dataTypeOfCode(context.node.int('stash_type', 1)) ?? 'float';
  if (data === undefined)
    return [tensor(context.elementType(0), undefined), tensor(stash, undefined), tensor(stash, undefined)];
  const axis = context.axis(context.node.int('axis', -1), data.length);
  const statistics = tensor(
    stash,
    data.map((size, at) => (at < axis ? size : 1)),
  );
  return [tensor(context.elementType(0), data), statistics, statistics];
};

/** LpNormalization, LRN, Softmax and their kin check their axis and keep type and shape. */
export const alongAxis: InferRule = (context) => {
  const data = context.shape(0);
  if (data !== undefined && data.length > 0 && context.node.attributes.has('axis')) {
    const axis = context.node.int('axis', -1);
    // Softmax before opset 13 flattens at `axis`, which may equal the rank.
    if (axis !== data.length) context.axis(axis, data.length);
  }
  return [tensor(context.elementType(0), data)];
};

function perChannel(context: RuleContext, channels: Dimension, indices: readonly number[]): Dimension {
  let size = channels;
  for (const index of indices) {
    const shape = context.shape(index);
    if (shape === undefined) continue;
    if (shape.length !== 1)
      throw new InferenceConflict(`input ${index} has rank ${shape.length}, expected one value a channel`);
    size = sameSize(size, shape[0] ?? null, `input ${index} and the channels`);
  }
  return size;
}

/** SoftmaxCrossEntropyLoss: a scalar, or the labels' shape without reduction; then log-probabilities. */
export const crossEntropyLoss: InferRule = (context) => {
  const reduced = context.node.string('reduction', 'mean') !== 'none';
  const type = context.elementType(0);
  return [tensor(type, reduced ? [] : context.shape(1)), tensor(type, context.shape(0))];
};

/** NegativeLogLikelihoodLoss: a scalar, or the labels' shape without reduction. */
export const logLikelihoodLoss: InferRule = (context) => [
  tensor(context.elementType(0), context.node.string('reduction', 'mean') === 'none' ? context.shape(1) : []),
];
