import { CompressionError } from '../../../errors.ts';
import { elementCount } from '../../../onnx/nd-array.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Model } from '../../../onnx/model.ts';
import type { LineUp } from './line-up.ts';

/**
 * Gives the small network its part of the large one's weights. Changes `small`.
 *
 * @param small - with its own weights, which do not matter
 */
export function takeWeights(small: Model, large: Model, { dims }: LineUp): void {
  for (const [name, own] of dims) {
    const from = large.graph.initializers.get(name);
    if (from === undefined) throw new CompressionError('INTERNAL', `the shared weights have no "${name}"`);
    small.graph.initializers.set(name, Tensor.float(name, partOf(from, own), own));
  }
}

/** The front of each axis; of a kernel's axes the middle. O(elements), one array of them. */
function partOf(tensor: Tensor, dims: readonly number[]): Float32Array {
  const values = tensor.floats();
  const strides = tensor.dims.map((_, axis) => elementCount(tensor.dims.slice(axis + 1)));
  const isFilter = dims.length > 2;
  const starts = dims.map((size, axis) => (isFilter && axis >= 2 ? ((tensor.dims[axis] ?? size) - size) / 2 : 0));
  const part = new Float32Array(elementCount(dims));
  const index = dims.map(() => 0);
  for (let at = 0; at < part.length; at += 1) {
    let source = 0;
    for (let axis = 0; axis < dims.length; axis += 1)
      source += ((starts[axis] ?? 0) + (index[axis] ?? 0)) * (strides[axis] ?? 0);
    part[at] = values[source] ?? 0;
    for (let axis = dims.length - 1; axis >= 0; axis -= 1) {
      index[axis] = (index[axis] ?? 0) + 1;
      if ((index[axis] ?? 0) < (dims[axis] ?? 0)) break;
      index[axis] = 0;
    }
  }
  return part;
}
