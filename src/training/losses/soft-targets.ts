import { CompressionError } from '../../errors.ts';
import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { fused, matrixShape, scaled, sumAll, type LossFragment, type StaticTensor } from './loss.ts';

/**
 * Knowledge distillation: T^2 KL(teacher || student) of softened logits [batch, classes], mean over the batch.
 * T^2 keeps the gradient's size independent of T; the gradient at the student is (T / batch) (p_s - p_t).
 *
 * @see Hinton et al., "Distilling the Knowledge in a Neural Network", 2015
 */
export function knowledgeDistillation(
  b: GraphBuilder,
  student: StaticTensor,
  teacher: StaticTensor,
  temperature: number,
): LossFragment {
  const [batch] = matrixShape(student, 'kd');
  sameShape(student, teacher, 'kd');
  const studentLog = softLog(b, student.value, temperature);
  const teacherLog = softLog(b, teacher.value, temperature);
  const teacherP = b.op('Exp', [teacherLog]);
  const divergence = sumAll(b, b.op('Mul', [teacherP, b.op('Sub', [teacherLog, studentLog])]));
  const gradient = scaled(b, b.op('Sub', [b.op('Exp', [studentLog]), teacherP]), temperature / batch);
  return fused(scaled(b, divergence, temperature ** 2 / batch), student.value, gradient);
}

export interface DecoupledOptions {
  readonly temperature: number;
  /** Weight of the divergence between (target, rest); 1 in the paper. */
  readonly alpha: number;
  /** Weight of the divergence among the other classes; 2 to 8 in the paper. */
  readonly beta: number;
}

/** Takes the target class out of a softmax. */
const MASK = 1000;

/**
 * Decoupled knowledge distillation: alpha TCKD + beta NCKD, each T^2 / batch times a divergence; labels int64 [batch].
 *
 * With q the softmax over the classes but the target, the gradients at the student's logits are
 * (T / batch) (p_s - p_t) (onehot - q_s), p the target's probability, and (T / batch) (q_s - q_t).
 *
 * @see Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 7
 */
export function decoupledDistillation(
  b: GraphBuilder,
  tensors: { readonly student: StaticTensor; readonly teacher: StaticTensor; readonly labels: string },
  options: DecoupledOptions,
): LossFragment {
  const { student, teacher, labels } = tensors;
  const { temperature, alpha, beta } = options;
  const [batch, classes] = matrixShape(student, 'dkd');
  sameShape(student, teacher, 'dkd');
  const values = b.initializer(Tensor.float('onehot_values', [0, 1]));
  const target = b.op('OneHot', [labels, b.ints('class_count', [classes]), values], { attributes: { axis: 1 } });
  const s = decouple(b, student.value, target, temperature);
  const t = decouple(b, teacher.value, target, temperature);
  const targetKl = b.op('Add', [
    b.op('Mul', [t.p, b.op('Sub', [t.logP, s.logP])]),
    b.op('Mul', [t.rest, b.op('Sub', [t.logRest, s.logRest])]),
  ]);
  const otherKl = b.op('Mul', [t.q, b.op('Sub', [t.logQ, s.logQ])]);
  const size = temperature ** 2 / batch;
  const value = b.op('Add', [scaled(b, sumAll(b, targetKl), alpha * size), scaled(b, sumAll(b, otherKl), beta * size)]);
  const targetGradient = b.op('Mul', [b.op('Sub', [s.p, t.p]), b.op('Sub', [target, s.q])]);
  const gradient = b.op('Add', [
    scaled(b, targetGradient, (alpha * temperature) / batch),
    scaled(b, b.op('Sub', [s.q, t.q]), (beta * temperature) / batch),
  ]);
  return fused(value, student.value, gradient);
}

interface Decoupled {
  /** Probability of the target [batch, 1], of all others, and their logarithms. */
  readonly p: string;
  readonly rest: string;
  readonly logP: string;
  readonly logRest: string;
  /** Softmax over the other classes [batch, classes], 0 at the target, and its logarithm. */
  readonly q: string;
  readonly logQ: string;
}

function decouple(b: GraphBuilder, logits: string, target: string, temperature: number): Decoupled {
  const axis = b.ints('class_axis', [1]);
  const soft = scaled(b, logits, 1 / temperature);
  const others = b.op('Sub', [soft, scaled(b, target, MASK)]);
  const logSum = (value: string): string => b.op('ReduceLogSumExp', [value, axis], { attributes: { keepdims: 1 } });
  const total = logSum(soft);
  const targetLogit = b.op('ReduceSum', [b.op('Mul', [soft, target]), axis], { attributes: { keepdims: 1 } });
  const logP = b.op('Sub', [targetLogit, total]);
  const logRest = b.op('Sub', [logSum(others), total]);
  const logQ = b.op('LogSoftmax', [others], { attributes: { axis: 1 } });
  const exp = (value: string): string => b.op('Exp', [value]);
  return { p: exp(logP), rest: exp(logRest), logP, logRest, q: exp(logQ), logQ };
}

function softLog(b: GraphBuilder, logits: string, temperature: number): string {
  return b.op('LogSoftmax', [scaled(b, logits, 1 / temperature)], { attributes: { axis: 1 } });
}

function sameShape(student: StaticTensor, teacher: StaticTensor, loss: string): void {
  if (student.shape.join() === teacher.shape.join()) return;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `${loss}: the student's scores are [${student.shape.join(', ')}], the teacher's [${teacher.shape.join(', ')}]; both must have the same classes`,
  );
}
