import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { AdapterWeights } from './adapters.ts';
import { meanAll, scaled, sumAll, type LossFragment, type StaticTensor } from './loss.ts';
import { pooledTo } from './pooling.ts';

/**
 * Hints: mean squared error between the teacher's feature map and the student's, taken to the teacher's width by a
 * trained 1x1 convolution where widths differ. The larger map is pooled where sizes differ.
 *
 * @see Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015
 */
export function hints(b: GraphBuilder, student: StaticTensor, teacher: StaticTensor, seed: number): LossFragment {
  const { student: s, teacher: t } = pooledTo(b, student, teacher);
  const adapters = new AdapterWeights(b, seed);
  const [, own = 1] = s.shape;
  const [, wanted = 1] = t.shape;
  const adapted =
    own === wanted
      ? s
      : s.shape.length === 2
        ? adapters.linear('hint_regressor', s, wanted)
        : adapters.pointwise('hint_regressor', s, wanted);
  const difference = b.op('Sub', [adapted.value, t.value]);
  return { value: meanAll(b, b.op('Mul', [difference, difference])), gradients: [], parameters: adapters.parameters };
}

const VARIANCE_EPSILON = 1e-5;
const INITIAL_VARIANCE = 5;

/**
 * Variational information distillation: the negative log-likelihood of the teacher's map under a Gaussian whose mean a
 * small trained network makes of the student's map and whose variance, one a channel, is trained too (softplus, from 5).
 *
 * @see Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019, eq. 5
 */
export function variationalDistillation(
  b: GraphBuilder,
  student: StaticTensor,
  teacher: StaticTensor,
  seed: number,
): LossFragment {
  const { student: s, teacher: t } = pooledTo(b, student, teacher);
  const adapters = new AdapterWeights(b, seed);
  const [, channels = 1, ...spatial] = t.shape;
  let mean = s;
  for (const [index, isLast] of [false, false, true].entries()) {
    mean =
      s.shape.length === 2
        ? adapters.linear(`vid_regressor.${index}`, mean, channels)
        : adapters.pointwise(`vid_regressor.${index}`, mean, channels);
    if (!isLast) mean = { value: b.op('Relu', [mean.value]), shape: mean.shape };
  }
  const start = Math.log(Math.exp(INITIAL_VARIANCE - VARIANCE_EPSILON) - 1);
  const logScale = adapters.constant('vid_log_scale', start, [1, channels, ...spatial.map(() => 1)]);
  const variance = b.op('Add', [b.op('Softplus', [logScale]), b.float('epsilon', VARIANCE_EPSILON)]);
  const difference = b.op('Sub', [mean.value, t.value]);
  const error = b.op('Div', [b.op('Mul', [difference, difference]), variance]);
  const likelihood = b.op('Add', [error, b.op('Log', [variance])]);
  return { value: scaled(b, meanAll(b, likelihood), 0.5), gradients: [], parameters: adapters.parameters };
}

/** Width of the space that features are compared in. */
const EMBEDDING = 128;

/**
 * Correlation congruence, as its reference implementation has it: both features are embedded, and the product of the
 * differences of neighbouring samples in the batch is made small. A batch of one sample has no neighbours.
 *
 * @see Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019
 */
export function correlationCongruence(
  b: GraphBuilder,
  student: StaticTensor,
  teacher: StaticTensor,
  seed: number,
): LossFragment {
  const adapters = new AdapterWeights(b, seed);
  const own = adapters.linear('cc_student', student, EMBEDDING);
  const wanted = adapters.linear('cc_teacher', teacher, EMBEDDING);
  const [batch = 1] = own.shape;
  const size = b.op('Abs', [b.op('Sub', [own.value, wanted.value])]);
  const rows = (from: number, to: number): string =>
    b.op('Slice', [size, b.ints('starts', [from]), b.ints('ends', [to]), b.ints('axes', [0])]);
  const products = b.op('Mul', [rows(0, batch - 1), rows(1, batch)]);
  const value = scaled(b, sumAll(b, products), 1 / Math.max(1, batch - 1));
  return { value, gradients: [], parameters: adapters.parameters };
}

export interface ContrastiveTensors {
  readonly student: StaticTensor;
  readonly teacher: StaticTensor;
  /** Class index of each sample, int64 [batch]: two samples of one class are not negatives of each other. */
  readonly labels: string;
}

/**
 * Contrastive representation distillation within the batch: from each embedded student feature the teacher's feature of the
 * same sample is to be told from those of samples of other classes, by a softmax over cosines at temperature 0.07, and the
 * other way round (the bound on mutual information of van den Oord et al. 2018). The paper's own objective (eq. 18) judges
 * each pair by itself and draws 16384 negatives from a memory bank of the whole data set; here they are those of the batch, so
 * large batches serve it better.
 *
 * @see Tian et al., "Contrastive Representation Distillation", ICLR 2020, section 3
 */
export function contrastiveDistillation(b: GraphBuilder, tensors: ContrastiveTensors, seed: number): LossFragment {
  const adapters = new AdapterWeights(b, seed);
  const [batch = 1] = tensors.student.shape;
  const own = unitRows(b, adapters.linear('crd_student', tensors.student, EMBEDDING).value);
  const wanted = unitRows(b, adapters.linear('crd_teacher', tensors.teacher, EMBEDDING).value);
  const transposed = b.op('Transpose', [wanted], { attributes: { perm: [1, 0] } });
  const scores = scaled(b, b.op('MatMul', [own, transposed]), 1 / CONTRASTIVE_TEMPERATURE);
  const column = b.op('Reshape', [tensors.labels, b.ints('column', [batch, 1])]);
  const row = b.op('Reshape', [tensors.labels, b.ints('row', [1, batch])]);
  const sameClass = b.op('Cast', [b.op('Equal', [column, row])], { attributes: { to: 1 } });
  // A constant, not EyeLike of the scores: nothing is to be differentiated through it.
  const identity = Float32Array.from({ length: batch * batch }, (_, i) => (i % (batch + 1) === 0 ? 1 : 0));
  const eye = b.initializer(Tensor.float('identity', identity, [batch, batch]));
  // -1000 takes a pair of one class out of the sum of negatives; a sample's own pair stays.
  const excluded = scaled(b, b.op('Sub', [sameClass, eye]), -1000);
  const logits = b.op('Add', [scores, excluded]);
  const bothWays = [1, 0].map((axis) => {
    const logP = b.op('LogSoftmax', [logits], { attributes: { axis } });
    return sumAll(b, b.op('Mul', [logP, eye]));
  });
  return { value: scaled(b, b.op('Sum', bothWays), -1 / batch), gradients: [], parameters: adapters.parameters };
}

const CONTRASTIVE_TEMPERATURE = 0.07;

function unitRows(b: GraphBuilder, rows: string): string {
  const square = b.op('ReduceSum', [b.op('Mul', [rows, rows]), b.ints('row_axis', [1])], {
    attributes: { keepdims: 1 },
  });
  return b.op('Div', [rows, b.op('Sqrt', [b.op('Clip', [square, b.float('smallest_square', 1e-24)])])]);
}
