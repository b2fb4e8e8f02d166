import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { fused, meanAll, scaled, type LossFragment, type StaticTensor } from './loss.ts';

/** Mean of (x - t)^2 over all elements; targets in the shape of the predictions. Gradient 2 (x - t) / n. */
export function meanSquaredError(b: GraphBuilder, predictions: StaticTensor, targets: string): LossFragment {
  const difference = b.op('Sub', [predictions.value, targets]);
  const value = meanAll(b, b.op('Mul', [difference, difference]));
  return fused(value, predictions.value, scaled(b, difference, 2 / elementCount(predictions.shape)));
}

/**
 * Binary cross-entropy of logits, mean over all elements; targets 0..1 in the shape of the logits.
 * max(x, 0) - x t + log(1 + exp(-|x|)) stays finite for every x. Gradient (sigmoid(x) - t) / n.
 */
export function binaryCrossEntropy(b: GraphBuilder, logits: StaticTensor, targets: string): LossFragment {
  const positive = b.op('Relu', [logits.value]);
  const product = b.op('Mul', [logits.value, targets]);
  const tail = b.op('Softplus', [b.op('Neg', [b.op('Abs', [logits.value])])]);
  const value = meanAll(b, b.op('Add', [b.op('Sub', [positive, product]), tail]));
  const difference = b.op('Sub', [b.op('Sigmoid', [logits.value]), targets]);
  return fused(value, logits.value, scaled(b, difference, 1 / elementCount(logits.shape)));
}
