import { CompressionError, assertNever } from '../../errors.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { LossBuilder, LossContext } from '../training-graph.ts';
import { crossEntropy, softCrossEntropy } from './cross-entropy.ts';
import type { LossFragment, StaticTensor } from './loss.ts';
import { binaryCrossEntropy, meanSquaredError } from './regression.ts';

export interface TaskLossSettings {
  readonly name: 'cross-entropy' | 'mse' | 'bce';
  readonly labelSmoothing: number;
  readonly classWeights?: readonly number[] | undefined;
}

/**
 * How labels come: class indices (int64), distributions over the classes (float, smoothed and mixed already), or targets
 * in the shape of the model's output (float).
 */
export type LabelKind = 'index' | 'distribution' | 'target';

/** Name of the labels' graph input. */
export const LABELS = 'labels';

/** The loss a model is trained for, on its scores and the labels of the data. */
export function taskLoss(settings: TaskLossSettings, kind: LabelKind): LossBuilder {
  return (context) => [{ fragment: taskFragment(settings, kind, context), weight: 1 }];
}

/** @throws CompressionError DATASET_LABELS when such labels do not go with the loss */
export function taskFragment(settings: TaskLossSettings, kind: LabelKind, context: LossContext): LossFragment {
  const { b, scores } = context;
  const [batch = 1, ...rest] = scores.shape;
  switch (settings.name) {
    case 'cross-entropy':
      if (kind === 'index') {
        const labels = context.input(LABELS, 'int64', [batch, ...rest.slice(1)]);
        return crossEntropy(b, scores, labels, {
          labelSmoothing: settings.labelSmoothing,
          ...(settings.classWeights === undefined ? {} : { classWeights: settings.classWeights }),
        });
      }
      if (kind === 'distribution') return softCrossEntropy(b, scores, context.input(LABELS, 'float', scores.shape));
      throw new CompressionError(
        'DATASET_LABELS',
        'cross-entropy needs class indices (an integer array), the labels are floats; use loss "mse", or name another array',
      );
    case 'mse':
    case 'bce': {
      const fragment = settings.name === 'mse' ? meanSquaredError : binaryCrossEntropy;
      if (kind !== 'index') return fragment(b, scores, context.input(LABELS, 'float', scores.shape));
      return fragment(b, scores, targetsOfIndices(context, scores));
    }
    default:
      return assertNever(settings.name, 'loss');
  }
}

/** Class indices as 0/1 targets: one output a sample takes the index itself, more take a one in its place. */
function targetsOfIndices(context: LossContext, scores: StaticTensor): string {
  const { b } = context;
  const [batch = 1, ...rest] = scores.shape;
  const labels = context.input(LABELS, 'int64', [batch]);
  if (elementCount(rest) === 1) {
    return b.op('Reshape', [b.op('Cast', [labels], { attributes: { to: 1 } }), b.ints('target_shape', scores.shape)]);
  }
  const values = b.array('target_values', { type: 'float', dims: [2], data: Float32Array.from([0, 1]) });
  return b.op('OneHot', [labels, b.ints('class_count', [rest[0] ?? 1]), values], { attributes: { axis: 1 } });
}
