import { byteLengthOf } from '../../../onnx/data-type.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { Obstacle } from './obstacle.ts';

/**
 * The positions `kept` along one axis of a tensor, in that order. O(elements).
 *
 * @throws Obstacle for strings and types smaller than a byte
 */
export function take(tensor: Tensor, axis: number, kept: readonly number[]): Tensor {
  const { dataType, dims } = tensor;
  const width = dataType === 'string' ? 0 : byteLengthOf(dataType, 1);
  if (width === 0 || byteLengthOf(dataType, 2) !== 2 * width) {
    throw new Obstacle(`"${tensor.name}" is ${dataType}, which cannot be cut`);
  }
  const size = dims[axis] ?? 1;
  const inner = width * dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const outer = dims.slice(0, axis).reduce((product, dim) => product * dim, 1);
  const from = tensor.bytes();
  const bytes = new Uint8Array(outer * kept.length * inner);
  let to = 0;
  for (let o = 0; o < outer; o += 1) {
    for (const position of kept) {
      const start = (o * size + position) * inner;
      bytes.set(from.subarray(start, start + inner), to);
      to += inner;
    }
  }
  return new Tensor({
    name: tensor.name,
    dataType,
    dims: dims.map((dim, at) => (at === axis ? kept.length : dim)),
    storage: { kind: 'bytes', bytes },
    docString: tensor.docString,
    metadata: tensor.metadata,
  });
}
