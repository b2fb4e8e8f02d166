import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { flatten, meanAll, scaled, sumAll, type LossFragment, type StaticTensor } from './loss.ts';

export interface RelationalOptions {
  readonly distanceWeight: number;
  readonly angleWeight: number;
}

/**
 * Relational distillation on the last vector of each sample: Huber losses between the matrices of pairwise distances
 * (each divided by its mean) and between the cosines of the angles of all triples.
 *
 * Memory grows with batch^2 times the features.
 *
 * @see Park et al., "Relational Knowledge Distillation", CVPR 2019 (weights 25 and 50)
 */
export function relationalDistillation(
  b: GraphBuilder,
  student: StaticTensor,
  teacher: StaticTensor,
  options: RelationalOptions,
): LossFragment {
  const s = flatten(b, student);
  const t = flatten(b, teacher);
  const distance = huber(b, relativeDistances(b, s), relativeDistances(b, t));
  const angle = huber(b, angles(b, s), angles(b, t));
  const value = b.op('Add', [scaled(b, distance, options.distanceWeight), scaled(b, angle, options.angleWeight)]);
  return { value, gradients: [] };
}

/** Euclidean distances of all pairs over their mean; 0 on the diagonal. [batch, batch] */
function relativeDistances(b: GraphBuilder, rows: StaticTensor): string {
  const [batch = 1] = rows.shape;
  const squares = b.op('ReduceSum', [b.op('Mul', [rows.value, rows.value]), b.ints('row_axis', [1])], {
    attributes: { keepdims: 1 },
  });
  const across = b.op('Transpose', [squares], { attributes: { perm: [1, 0] } });
  const product = b.op('MatMul', [rows.value, b.op('Transpose', [rows.value], { attributes: { perm: [1, 0] } })]);
  const difference = b.op('Sub', [b.op('Add', [squares, across]), scaled(b, product, 2)]);
  const floored = b.op('Clip', [difference, b.float('smallest_square', 1e-12)]);
  const offDiagonal = Float32Array.from({ length: batch * batch }, (_, i) => (i % (batch + 1) === 0 ? 0 : 1));
  const mask = b.initializer(Tensor.float('off_diagonal', offDiagonal, [batch, batch]));
  const distances = b.op('Mul', [b.op('Sqrt', [floored]), mask]);
  const pairs = Math.max(1, batch * (batch - 1));
  return b.op('Div', [distances, scaled(b, sumAll(b, distances), 1 / pairs)]);
}

/** Cosine of the angle at each sample between each two others. [batch, batch, batch] */
function angles(b: GraphBuilder, rows: StaticTensor): string {
  const [batch = 1, features = 1] = rows.shape;
  const asRow = b.op('Reshape', [rows.value, b.ints('row_shape', [1, batch, features])]);
  const asColumn = b.op('Reshape', [rows.value, b.ints('column_shape', [batch, 1, features])]);
  const edges = b.op('Sub', [asRow, asColumn]);
  const square = b.op('ReduceSum', [b.op('Mul', [edges, edges]), b.ints('feature_axis', [2])], {
    attributes: { keepdims: 1 },
  });
  // A sample's edge to itself has length 0; below the floor the derivative is 0 and not NaN.
  const norm = b.op('Sqrt', [b.op('Clip', [square, b.float('smallest_square', 1e-24)])]);
  const unit = b.op('Div', [edges, norm]);
  return b.op('MatMul', [unit, b.op('Transpose', [unit], { attributes: { perm: [0, 2, 1] } })]);
}

/** Mean of d^2 / 2 where |d| < 1, |d| - 1/2 elsewhere, as m (|d| - m / 2) with m = min(|d|, 1). */
function huber(b: GraphBuilder, own: string, wanted: string): string {
  const size = b.op('Abs', [b.op('Sub', [own, wanted])]);
  const capped = b.op('Clip', [size, '', b.float('huber_threshold', 1)]);
  return meanAll(b, b.op('Mul', [capped, b.op('Sub', [size, scaled(b, capped, 0.5)])]));
}
