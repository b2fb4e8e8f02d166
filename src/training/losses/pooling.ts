import { CompressionError } from '../../errors.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { StaticTensor } from './loss.ts';

/**
 * Brings two feature maps [batch, channels, height, width] to the smaller of their sizes by average pooling, which is
 * what adaptive pooling does where one size divides the other.
 *
 * @throws CompressionError PASS_PRECONDITION where neither size divides the other, or ranks differ
 */
export function pooledTo(
  b: GraphBuilder,
  student: StaticTensor,
  teacher: StaticTensor,
): { student: StaticTensor; teacher: StaticTensor } {
  const own = student.shape.slice(2);
  const other = teacher.shape.slice(2);
  if (own.join() === other.join()) return { student, teacher };
  if (own.length === other.length && own.length > 0) {
    if (own.every((size, axis) => size % (other[axis] ?? 1) === 0)) {
      return { student: averaged(b, student, other), teacher };
    }
    if (other.every((size, axis) => size % (own[axis] ?? 1) === 0)) {
      return { student, teacher: averaged(b, teacher, own) };
    }
  }
  throw new CompressionError(
    'PASS_PRECONDITION',
    `layers "${student.value}" [${student.shape.join(', ')}] and "${teacher.value}" [${teacher.shape.join(', ')}] cannot be compared: one size must be a multiple of the other; name other layers`,
  );
}

function averaged(b: GraphBuilder, tensor: StaticTensor, sizes: readonly number[]): StaticTensor {
  const kernel = tensor.shape.slice(2).map((size, axis) => size / (sizes[axis] ?? 1));
  const value = b.op('AveragePool', [tensor.value], { attributes: { kernel_shape: kernel, strides: kernel } });
  return { value, shape: [...tensor.shape.slice(0, 2), ...sizes] };
}
