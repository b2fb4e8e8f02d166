import * as constants from './constant.ts';
import * as controlFlow from './control-flow.ts';
import * as convolution from './convolution.ts';
import * as elementwise from './elementwise.ts';
import * as indexing from './indexing.ts';
import * as joining from './concat-split.ts';
import * as matrix from './matmul.ts';
import * as normalization from './normalization.ts';
import * as quantized from './quantized.ts';
import * as reduction from './reduction.ts';
import * as reshaping from './reshape.ts';
import * as resizing from './resize.ts';
import * as sequences from './sequence.ts';
import * as signals from './signal.ts';
import { attention } from './attention.ts';
import { einsum } from './einsum.ts';
import { MICROSOFT_RULES } from './microsoft.ts';
import { ML_RULES } from './ml.ts';
import { recurrent } from './recurrent.ts';
import { tensor, type InferRule } from './rule.ts';
import { slice } from './slice.ts';
import { binaryOperations as on, unaryOperations as each } from './value-arithmetic.ts';

const SAME_AS_FIRST = [
  'Acos Acosh Asin Asinh Atan Atanh BitwiseNot Celu Clip Cos Cosh Elu Erf Exp Gelu GroupNormalization HardSigmoid',
  'HardSwish Hardmax ImageScaler LRN LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization Mish PRelu',
  'ParametricSoftplus RMSNormalization Reciprocal ReverseSequence RotaryEmbedding Round ScaledTanh Selu Shrink',
  'Sigmoid Sign Sin Sinh Softmax Softplus Softsign Swish Tan Tanh ThresholdedRelu Trilu',
]
  .join(' ')
  .split(' ');

/** The rule of each operator of the default domain. Rules look at the opset where versions differ. */
const DEFAULT_RULES: Readonly<Record<string, InferRule>> = {
  ...Object.fromEntries(SAME_AS_FIRST.map((opType) => [opType, elementwise.sameAsFirst])),
  Abs: elementwise.unary(each.absolute),
  Add: elementwise.binary(on.add),
  Affine: elementwise.sameAsFirst,
  AffineGrid: signals.affineGrid,
  And: elementwise.comparison(on.and),
  ArgMax: reduction.argReduce,
  ArgMin: reduction.argReduce,
  Attention: attention,
  AveragePool: convolution.pool,
  BatchNormalization: normalization.batchNormalization,
  Bernoulli: constants.likeInput,
  BitCast: elementwise.bitCast,
  BitShift: elementwise.broadcastKeepingType,
  BitwiseAnd: elementwise.binary(),
  BitwiseOr: elementwise.binary(),
  BitwiseXor: elementwise.binary(),
  BlackmanWindow: constants.window,
  Cast: elementwise.cast,
  CastLike: elementwise.castLike,
  Ceil: elementwise.unary(each.ceil),
  CenterCropPad: signals.centerCropPad,
  Col2Im: signals.col2Im,
  Compress: indexing.compress,
  Concat: joining.concat,
  ConcatFromSequence: sequences.concatFromSequence,
  Constant: constants.constant,
  ConstantOfShape: constants.constantOfShape,
  Conv: convolution.conv,
  ConvInteger: quantized.convInteger,
  ConvTranspose: convolution.convTranspose,
  CumProd: elementwise.sameAsFirst,
  CumSum: reduction.cumulativeSum,
  DFT: signals.dft,
  DeformConv: convolution.conv,
  DepthToSpace: reshaping.depthToSpace,
  DequantizeLinear: quantized.dequantizeLinear,
  Det: matrix.determinant,
  Div: elementwise.binary(on.divide),
  Dropout: elementwise.dropout,
  DynamicQuantizeLinear: quantized.dynamicQuantizeLinear,
  Einsum: einsum,
  Equal: elementwise.comparison(on.equal),
  Expand: reshaping.expand,
  EyeLike: constants.likeInput,
  Flatten: reshaping.flatten,
  Floor: elementwise.unary(each.floor),
  GRU: recurrent(3, 2),
  Gather: indexing.gather,
  GatherElements: indexing.gatherElements,
  GatherND: indexing.gatherNd,
  Gemm: matrix.gemm,
  GlobalAveragePool: convolution.globalPool,
  GlobalLpPool: convolution.globalPool,
  GlobalMaxPool: convolution.globalPool,
  Greater: elementwise.comparison(on.greater),
  GreaterOrEqual: elementwise.comparison(on.greaterOrEqual),
  GridSample: indexing.gridSample,
  HammingWindow: constants.window,
  HannWindow: constants.window,
  Identity: elementwise.identity,
  If: controlFlow.ifRule,
  InstanceNormalization: normalization.instanceNormalization,
  IsInf: elementwise.predicate,
  IsNaN: elementwise.predicate,
  LSTM: recurrent(4, 3),
  LayerNormalization: normalization.layerNormalization,
  Less: elementwise.comparison(on.less),
  LessOrEqual: elementwise.comparison(on.lessOrEqual),
  Loop: controlFlow.loop,
  LpPool: convolution.pool,
  MatMul: matrix.matMul(0, 1),
  MatMulInteger: matrix.matMul(0, 1, 'int32'),
  Max: elementwise.variadic(on.max),
  MaxPool: convolution.pool,
  MaxRoiPool: indexing.roiAlign,
  MaxUnpool: convolution.maxUnpool,
  Mean: elementwise.variadic(),
  MelWeightMatrix: signals.melWeightMatrix,
  Min: elementwise.variadic(on.min),
  Mod: elementwise.binary(on.modulo),
  Mul: elementwise.binary(on.multiply),
  Multinomial: constants.multinomial,
  Neg: elementwise.unary(each.negate),
  NegativeLogLikelihoodLoss: normalization.logLikelihoodLoss,
  NonMaxSuppression: indexing.nonMaxSuppression,
  NonZero: indexing.nonZero,
  Not: elementwise.unary(each.not),
  OneHot: indexing.oneHot,
  Optional: sequences.optional,
  OptionalGetElement: sequences.optionalGetElement,
  OptionalHasElement: sequences.scalar('bool'),
  Or: elementwise.comparison(on.or),
  Pad: joining.pad,
  Pow: elementwise.broadcastKeepingType,
  QLinearConv: quantized.qLinearConv,
  QLinearMatMul: quantized.qLinearMatMul,
  QuantizeLinear: quantized.quantizeLinear,
  RNN: recurrent(1, 2),
  RandomNormal: constants.random,
  RandomNormalLike: constants.likeInput,
  RandomUniform: constants.random,
  RandomUniformLike: constants.likeInput,
  Range: constants.range,
  ReduceL1: reduction.reduce(),
  ReduceL2: reduction.reduce(),
  ReduceLogSum: reduction.reduce(),
  ReduceLogSumExp: reduction.reduce(),
  ReduceMax: reduction.reduce(reduction.reductions.max),
  ReduceMean: reduction.reduce(),
  ReduceMin: reduction.reduce(reduction.reductions.min),
  ReduceProd: reduction.reduce(reduction.reductions.product),
  ReduceSum: reduction.reduce(reduction.reductions.sum),
  ReduceSumSquare: reduction.reduce(),
  Relu: elementwise.unary((value) => (typeof value === 'number' ? Math.max(0, value) : value)),
  Reshape: reshaping.reshape,
  Resize: resizing.resize,
  RoiAlign: indexing.roiAlign,
  STFT: signals.stft,
  Scan: controlFlow.scan,
  Scatter: indexing.scatter,
  ScatterElements: indexing.scatter,
  ScatterND: indexing.scatter,
  SequenceAt: sequences.sequenceAt,
  SequenceConstruct: sequences.sequenceConstruct,
  SequenceEmpty: sequences.sequenceEmpty,
  SequenceErase: elementwise.identity,
  SequenceInsert: sequences.sequenceInsert,
  SequenceLength: sequences.scalar('int64'),
  SequenceMap: controlFlow.sequenceMap,
  Shape: constants.shapeOf,
  Size: constants.sizeOf,
  Slice: slice,
  Softmax: normalization.alongAxis,
  SoftmaxCrossEntropyLoss: normalization.crossEntropyLoss,
  SpaceToDepth: reshaping.spaceToDepth,
  Split: joining.split,
  SplitToSequence: sequences.splitToSequence,
  Sqrt: elementwise.unary(each.squareRoot),
  Squeeze: reshaping.squeeze,
  Sub: elementwise.binary(on.subtract),
  Sum: elementwise.variadic(on.add),
  TensorScatter: indexing.scatter,
  TfIdfVectorizer: signals.tfIdfVectorizer,
  Tile: reshaping.tile,
  TopK: indexing.topK,
  Transpose: reshaping.transpose,
  Unique: indexing.unique,
  Unsqueeze: reshaping.unsqueeze,
  Upsample: resizing.upsample,
  Where: elementwise.where,
  Xor: elementwise.comparison(),
  StringConcat: elementwise.binary(),
  RegexFullMatch: elementwise.predicate,
  StringNormalizer: (context) => [
    tensor(
      'string',
      context.shape(0)?.map((size, axis, all) => (axis === all.length - 1 ? null : size)),
    ),
  ],
};

/** Inference rules by `domain:opType` (`:Conv` in the default domain). An operator without one is not inferred. */
export const INFER_RULES: ReadonlyMap<string, InferRule> = new Map([
  ...entriesOf('', DEFAULT_RULES),
  ...entriesOf('com.microsoft', MICROSOFT_RULES),
  ...entriesOf('ai.onnx.ml', ML_RULES),
]);

function entriesOf(domain: string, rules: Readonly<Record<string, InferRule>>): [string, InferRule][] {
  return Object.entries(rules).map(([opType, rule]) => [`${domain}:${opType}`, rule]);
}
