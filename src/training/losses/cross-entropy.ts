import { CompressionError } from '../../errors.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { fused, scaled, sumAll, type LossFragment, type StaticTensor } from './loss.ts';

export interface CrossEntropyOptions {
  /** 0..1; share of the target that is spread over all classes. */
  readonly labelSmoothing?: number;
  /** One weight a class. The mean is then over the weights of the samples' classes, as in PyTorch. */
  readonly classWeights?: readonly number[];
}

/**
 * Cross-entropy of logits [batch, classes, ...] and class indices int64 [batch, ...], mean over all positions.
 *
 * The target is t = (1 - e) onehot + e / K (times the class's weight), the gradient (softmax * sum(t) - t) / n: it goes
 * around the logarithm, which would lose it where a probability underflows.
 *
 * @throws CompressionError MODEL_UNSUPPORTED for logits without a class axis
 * @see Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7 (label smoothing)
 */
export function crossEntropy(
  b: GraphBuilder,
  logits: StaticTensor,
  labels: string,
  options: CrossEntropyOptions = {},
): LossFragment {
  const { labelSmoothing = 0, classWeights } = options;
  const [batch, classes, ...positions] = scoresShape(logits);
  if (classWeights !== undefined && classWeights.length !== classes) {
    throw new CompressionError(
      'RECIPE_INVALID',
      `classWeights has ${classWeights.length} entries, the model has ${classes} classes; give one weight for each`,
    );
  }
  const count = positions.reduce((product, size) => product * size, batch);
  const logProbabilities = b.op('LogSoftmax', [logits.value], { attributes: { axis: 1 } });
  const off = labelSmoothing / classes;
  const values = b.initializer(Tensor.float('target_values', [off, 1 - labelSmoothing + off]));
  const depth = b.ints('class_count', [classes]);
  const plain = b.op('OneHot', [labels, depth, values], { attributes: { axis: 1 }, name: 'targets' });
  const probabilities = b.op('Exp', [logProbabilities], { name: 'probabilities' });
  if (classWeights === undefined) {
    const sum = sumAll(b, b.op('Mul', [plain, logProbabilities]));
    const gradient = scaled(b, b.op('Sub', [probabilities, plain]), 1 / count);
    return fused(scaled(b, sum, -1 / count), logits.value, gradient);
  }
  const weightShape = [1, classes, ...positions.map(() => 1)];
  const weights = b.initializer(Tensor.float('class_weights', classWeights, weightShape));
  const flatWeights = b.initializer(Tensor.float('class_weights_flat', classWeights));
  const targets = b.op('Mul', [plain, weights]);
  const weightSum = sumAll(b, b.op('Gather', [flatWeights, labels]));
  const sum = sumAll(b, b.op('Mul', [targets, logProbabilities]));
  const rowSums = b.op('ReduceSum', [targets, b.ints('class_axis', [1])], { attributes: { keepdims: 1 } });
  const difference = b.op('Sub', [b.op('Mul', [probabilities, rowSums]), targets]);
  const value = b.op('Neg', [b.op('Div', [sum, weightSum])]);
  return fused(value, logits.value, b.op('Div', [difference, weightSum]));
}

/**
 * Cross-entropy of logits [batch, classes] and target distributions float [batch, classes] (rows sum to 1), mean over the
 * batch: for labels that were mixed or smoothed before. Gradient (softmax - t) / batch.
 *
 * @throws CompressionError MODEL_UNSUPPORTED for logits without a class axis
 */
export function softCrossEntropy(b: GraphBuilder, logits: StaticTensor, targets: string): LossFragment {
  const [batch] = scoresShape(logits);
  const logProbabilities = b.op('LogSoftmax', [logits.value], { attributes: { axis: 1 } });
  const sum = sumAll(b, b.op('Mul', [targets, logProbabilities]));
  const gradient = scaled(b, b.op('Sub', [b.op('Exp', [logProbabilities]), targets]), 1 / batch);
  return fused(scaled(b, sum, -1 / batch), logits.value, gradient);
}

function scoresShape(logits: StaticTensor): readonly [number, number, ...number[]] {
  const [batch, classes, ...positions] = logits.shape;
  if (batch === undefined || classes === undefined || classes < 2) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `cross-entropy needs scores of shape [batch, classes], "${logits.value}" is [${logits.shape.join(', ')}]; use loss "mse" or "bce"`,
    );
  }
  return [batch, classes, ...positions];
}
