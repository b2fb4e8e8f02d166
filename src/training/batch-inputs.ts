import { CompressionError } from '../errors.ts';
import type { DataType } from '../onnx/data-type.ts';
import type { Shape, ValueInfo } from '../onnx/value-type.ts';

/** An input of a training graph that is fed with each batch. */
export interface BatchInput {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
}

/**
 * A model's input with every size fixed, the batch on its first axis.
 *
 * @param sizes - shapes of inputs where the model leaves them open
 * @throws CompressionError MODEL_UNSUPPORTED for an input that cannot be fed in batches of one shape
 */
export function batchInput(
  { name, type }: ValueInfo,
  sizes: {
    readonly batchSize: number;
    readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined;
  },
): BatchInput {
  if (type?.kind !== 'tensor') {
    throw new CompressionError('MODEL_UNSUPPORTED', `input "${name}" is no tensor; training feeds tensors only`);
  }
  const declared: Shape | undefined = sizes.inputShapes?.[name] ?? type.shape;
  if (declared === undefined || declared.length === 0) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `input "${name}" has ${declared === undefined ? 'no known rank' : 'no batch axis'}; training needs batches: export the model with a batch axis`,
    );
  }
  const shape = declared.map((size, axis) => (axis === 0 ? sizes.batchSize : size));
  const open = shape.findIndex((size) => typeof size !== 'number');
  if (open >= 0) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `axis ${open} of input "${name}" is open (${String(shape[open])}); training needs one size for all samples`,
    );
  }
  return { name, type: type.elementType, shape: shape as readonly number[] };
}
