import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import { flatten, fused, scaled, sumAll, type LossFragment, type StaticTensor } from './loss.ts';
import { pooledTo } from './pooling.ts';

/** Least norm that is divided by, as in torch.nn.functional.normalize. */
const SMALLEST_NORM = 1e-12;

/**
 * Attention transfer for one pair of feature maps [batch, channels, height, width]: mean((q_s - q_t)^2), q the mean of
 * f^2 over the channels, each sample laid flat and divided by its norm. Where sizes differ the larger map is pooled.
 * Several stages are several fragments.
 *
 * @see Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017
 */
export function attentionTransfer(b: GraphBuilder, student: StaticTensor, teacher: StaticTensor): LossFragment {
  const { student: s, teacher: t } = pooledTo(b, student, teacher);
  const mapOf = (tensor: StaticTensor): Normalized => {
    const energy = b.op('ReduceMean', [b.op('Mul', [tensor.value, tensor.value]), b.ints('channel_axis', [1])], {
      attributes: { keepdims: 0 },
    });
    const [batch = 1, , ...spatial] = tensor.shape;
    return normalizedRows(b, flatten(b, { value: energy, shape: [batch, ...spatial] }).value);
  };
  const own = mapOf(s);
  const wanted = mapOf(t);
  const [batch = 1, channels = 1, ...spatial] = s.shape;
  const count = batch * elementCount(spatial);
  const difference = b.op('Sub', [own.rows, wanted.rows]);
  const value = scaled(b, sumAll(b, b.op('Mul', [difference, difference])), 1 / count);
  const rowGradient = normalizationGradient(b, own, scaled(b, difference, 2 / count));
  // d/df of mean_c f^2 is 2 f / C at every channel.
  const map = b.op('Reshape', [rowGradient, b.ints('map_shape', [batch, 1, ...spatial])]);
  const atPooled = b.op('Mul', [s.value, scaled(b, map, 2 / channels)]);
  return fused(value, s.value, atPooled);
}

/**
 * Similarity preserving: ||G_s - G_t||^2 / batch^2 (Frobenius), G = F F^T over the samples with rows of norm 1. The widths of student and
 * teacher may differ. A batch of one sample has nothing to compare.
 *
 * @see Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019
 */
export function similarityPreserving(b: GraphBuilder, student: StaticTensor, teacher: StaticTensor): LossFragment {
  const [batch = 1] = student.shape;
  const rows = flatten(b, student).value;
  const own = normalizedRows(b, gram(b, rows));
  const wanted = normalizedRows(b, gram(b, flatten(b, teacher).value));
  const difference = b.op('Sub', [own.rows, wanted.rows]);
  const value = scaled(b, sumAll(b, b.op('Mul', [difference, difference])), 1 / batch ** 2);
  const gramGradient = normalizationGradient(b, own, scaled(b, difference, 2 / batch ** 2));
  const transposed = b.op('Transpose', [gramGradient], { attributes: { perm: [1, 0] } });
  const flat = b.op('MatMul', [b.op('Add', [gramGradient, transposed]), rows]);
  const shape = student.shape;
  const gradient = shape.length === 2 ? flat : b.op('Reshape', [flat, b.ints('feature_shape', shape)]);
  return fused(value, student.value, gradient);
}

/** F F^T, [batch, batch]. */
function gram(b: GraphBuilder, rows: string): string {
  return b.op('Gemm', [rows, rows], { attributes: { transB: 1 } });
}

interface Normalized {
  /** [batch, n], each row of norm 1. */
  readonly rows: string;
  /** [batch, 1] */
  readonly norms: string;
}

function normalizedRows(b: GraphBuilder, value: string): Normalized {
  const norm = b.op('ReduceL2', [value, b.ints('row_axis', [1])], { attributes: { keepdims: 1 } });
  const norms = b.op('Max', [norm, b.float('smallest_norm', SMALLEST_NORM)]);
  return { rows: b.op('Div', [value, norms]), norms };
}

/** q = a / ||a||:  da = (dq - q (q . dq)) / ||a||, row by row. */
function normalizationGradient(b: GraphBuilder, { rows, norms }: Normalized, gradient: string): string {
  const along = b.op('ReduceSum', [b.op('Mul', [rows, gradient]), b.ints('row_axis', [1])], {
    attributes: { keepdims: 1 },
  });
  return b.op('Div', [b.op('Sub', [gradient, b.op('Mul', [rows, along])]), norms]);
}

/** Cosine similarities as probabilities: how likely sample j is a neighbour of sample i. [batch, batch] */
function neighbourhood(b: GraphBuilder, tensor: StaticTensor): string {
  const rows = flatten(b, tensor).value;
  const axis = b.ints('row_axis', [1]);
  const square = b.op('ReduceSum', [b.op('Mul', [rows, rows]), axis], { attributes: { keepdims: 1 } });
  // The floor has the derivative 0, so a row of zeros gets a gradient of 0 and not NaN.
  const norm = b.op('Sqrt', [b.op('Clip', [square, b.float('smallest_square', 1e-24)])]);
  const unit = b.op('Div', [rows, b.op('Add', [norm, b.float('epsilon', PKT_EPSILON)])]);
  const cosine = b.op('MatMul', [unit, b.op('Transpose', [unit], { attributes: { perm: [1, 0] } })]);
  const shifted = scaled(b, b.op('Add', [cosine, b.float('one', 1)]), 0.5);
  const sums = b.op('ReduceSum', [shifted, axis], { attributes: { keepdims: 1 } });
  return b.op('Div', [shifted, sums]);
}

const PKT_EPSILON = 1e-7;

/**
 * Probabilistic knowledge transfer: mean over all pairs of t log(t / s), t and s the neighbourhood probabilities
 * (1 + cosine) / 2 of teacher and student, rows summing to 1.
 *
 * @see Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018
 */
export function probabilisticTransfer(b: GraphBuilder, student: StaticTensor, teacher: StaticTensor): LossFragment {
  const [batch = 1] = student.shape;
  const epsilon = b.float('epsilon', PKT_EPSILON);
  const own = b.op('Add', [neighbourhood(b, student), epsilon]);
  const wanted = neighbourhood(b, teacher);
  const ratio = b.op('Div', [b.op('Add', [wanted, epsilon]), own]);
  const value = scaled(b, sumAll(b, b.op('Mul', [wanted, b.op('Log', [ratio])])), 1 / batch ** 2);
  return { value, gradients: [] };
}
