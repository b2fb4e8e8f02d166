import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { TrainingField } from '../../../schemas/training.ts';
import { parametersOf, selectParameters } from '../../../training/parameters.ts';

/** Which normalizations will work with the statistics of their batch: as the training graph decides. */
export function trainedNormalizations(model: Model, training: TrainingField): (normalization: Node) => boolean {
  if (training.batchNormalization === 'frozen') return () => false;
  const selected = new Set(selectParameters(parametersOf(model), training).map(({ name }) => name));
  return ({ inputs: [, scale = '', bias = ''] }) => selected.has(scale) || selected.has(bias);
}
