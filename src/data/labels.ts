import { CompressionError } from '../errors.ts';
import { isFloatType } from '../onnx/data-type.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { convertArray, isIntegerType } from './convert-array.ts';
import type { SourceArray } from './feed-plan.ts';

/** Names that stand for labels when the role names none. */
const DEFAULT_NAMES = ['labels', 'label'];

/** Name of the array of labels: the one that the role names, else `labels`, else `label`, else none. */
export function labelsName(
  arrays: readonly { readonly name: string }[],
  wanted: string | undefined,
): string | undefined {
  return wanted ?? DEFAULT_NAMES.find((candidate) => arrays.some(({ name }) => name === candidate));
}

/**
 * The array of labels of a role: the one it names, else `labels`, else `label`, else none.
 * @throws CompressionError DATASET_LABELS when the named one is not there or cannot be labels
 */
export function chooseLabels(arrays: readonly SourceArray[], wanted: string | undefined): SourceArray | undefined {
  const name = labelsName(arrays, wanted);
  if (name === undefined) return undefined;
  const array = arrays.find((candidate) => candidate.name === name);
  if (array === undefined) {
    const names = arrays.map((candidate) => candidate.name).join(', ');
    throw new CompressionError('DATASET_LABELS', `The data set has no array ${name} of labels; it has ${names}`);
  }
  if (!isIntegerType(array.type) && !isFloatType(array.type)) {
    throw new CompressionError('DATASET_LABELS', `Labels ${name} are ${array.type}; expected class indices or numbers`);
  }
  return array;
}

/**
 * Integer labels as int64 class indices ([N, 1] becomes [N]), float labels as float targets.
 * @param first - index of the first sample, for errors
 * @throws CompressionError DATASET_LABELS for a negative index, or one that is not below `classes`
 */
export function readLabels(array: NdArray, first: number, name: string, classes: number | undefined): NdArray {
  if (!isIntegerType(array.type)) {
    return convertArray(array, 'float', `Labels ${name}`);
  }
  const [count = 0, ...rest] = array.dims;
  const perSample = rest.reduce((product, dim) => product * dim, 1);
  const data = new BigInt64Array(array.data.length);
  const limit = classes === undefined ? undefined : BigInt(classes);
  for (let i = 0; i < data.length; i += 1) {
    const label = BigInt(array.data[i] ?? 0);
    if (label < 0n || (limit !== undefined && label >= limit) || label > 0x7fffffffn) {
      const range =
        classes === undefined ? 'a whole number from 0' : `0 to ${classes - 1}: the model has ${classes} classes`;
      throw new CompressionError(
        'DATASET_LABELS',
        `Label of sample ${first + Math.floor(i / perSample)} in ${name} is ${label}, expected ${range}; correct the labels or name another array`,
      );
    }
    data[i] = label;
  }
  return { type: 'int64', dims: rest.length === 1 && rest[0] === 1 ? [count] : array.dims, data };
}
