import { isFloatType } from '../data-type.ts';
import type { Tensor } from '../tensor.ts';
import type { Dimension } from '../value-type.ts';
import { MAX_TRACKED_ELEMENTS, type Inferred } from './rule.ts';

/** Type of a constant tensor, with its elements when it is small. */
export function inferredTensor(tensor: Tensor): Inferred {
  const type = { kind: 'tensor', elementType: tensor.dataType, shape: tensor.dims } as const;
  const values = trackedElements(tensor);
  return values === undefined ? { type } : { type, values };
}

/**
 * The elements of a small tensor of whole numbers, bool, float or double; undefined for other types, for external data
 * (shapes are never external in practice, and inference shall not read files), and past `MAX_TRACKED_ELEMENTS`.
 */
export function trackedElements(tensor: Tensor): readonly Dimension[] | undefined {
  if (tensor.elementCount > MAX_TRACKED_ELEMENTS || tensor.storage.kind !== 'bytes') return undefined;
  const isTracked =
    /^(u?int(8|16|32|64)|bool)$/.test(tensor.dataType) || tensor.dataType === 'float' || tensor.dataType === 'double';
  if (!isTracked) return undefined;
  if (tensor.elementCount > 64 && isFloatType(tensor.dataType)) return undefined;
  const { data } = tensor.toArray();
  const values: number[] = [];
  for (const value of data) {
    const number = Number(value);
    values.push(
      typeof value === 'bigint' && !Number.isSafeInteger(number) ? (number > 0 ? Infinity : -Infinity) : number,
    );
  }
  return values;
}
