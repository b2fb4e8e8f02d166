import { ADDER_DOMAIN, ADDER_TYPE } from '../../zoo/adder2d.ts';
import { FAKE_QUANTIZE } from '../quantizers/fake-quantize.ts';
import { TERSOR } from '../quantizers/marked-function.ts';
import { BINARIZE, TERNARIZE } from '../quantizers/signs.ts';
import * as activation from './activations.ts';
import { adderGradient } from './adder.ts';
import * as arithmetic from './arithmetic.ts';
import * as convolution from './convolution.ts';
import { fakeQuantizeGradient } from './fake-quantize.ts';
import * as indexing from './indexing.ts';
import * as linear from './linear.ts';
import * as normalization from './normalization.ts';
import * as pooling from './pooling.ts';
import * as quantization from './quantization.ts';
import * as recurrent from './recurrent.ts';
import * as reduction from './reductions.ts';
import * as shape from './shape-operators.ts';
import { binarizeGradient, ternarizeGradient } from './signs.ts';
import * as softmax from './softmax.ts';
import type { GradientRule } from './gradient-rule.ts';
import { resizeGradient } from './resize.ts';

/** The gradient rule of each operator of the default domain, opset 21 (newer ones where their form is the same). */
const DEFAULT_RULES: Readonly<Record<string, GradientRule>> = {
  Abs: activation.absGradient,
  Add: arithmetic.addGradient,
  Atan: activation.atanGradient,
  AveragePool: pooling.averagePoolGradient,
  BatchNormalization: normalization.batchNormalizationGradient,
  Cast: activation.castGradient,
  CastLike: activation.castGradient,
  Ceil: activation.straightThroughGradient,
  Celu: activation.celuGradient,
  Clip: activation.clipGradient,
  Concat: shape.concatGradient,
  Conv: convolution.convGradient,
  ConvTranspose: convolution.convTransposeGradient,
  Cos: activation.cosGradient,
  CumSum: reduction.cumSumGradient,
  DepthToSpace: shape.depthToSpaceGradient,
  DequantizeLinear: quantization.dequantizeLinearGradient,
  Div: arithmetic.divGradient,
  Dropout: activation.dropoutGradient,
  Einsum: linear.einsumGradient,
  Elu: activation.eluGradient,
  Erf: activation.erfGradient,
  Exp: activation.expGradient,
  Expand: shape.expandGradient,
  Flatten: shape.reshapeGradient,
  Floor: activation.straightThroughGradient,
  Gather: indexing.gatherGradient,
  GatherElements: indexing.gatherElementsGradient,
  GatherND: indexing.gatherNdGradient,
  Gelu: activation.geluGradient,
  Gemm: linear.gemmGradient,
  GRU: recurrent.gruGradient,
  GlobalAveragePool: pooling.globalAveragePoolGradient,
  GlobalMaxPool: pooling.globalMaxPoolGradient,
  GroupNormalization: normalization.groupNormalizationGradient,
  HardSigmoid: activation.hardSigmoidGradient,
  HardSwish: activation.hardSwishGradient,
  Identity: activation.identityGradient,
  InstanceNormalization: normalization.instanceNormalizationGradient,
  LSTM: recurrent.lstmGradient,
  LayerNormalization: normalization.layerNormalizationGradient,
  LeakyRelu: activation.leakyReluGradient,
  Log: activation.logGradient,
  LogSoftmax: softmax.logSoftmaxGradient,
  LpNormalization: normalization.lpNormalizationGradient,
  MatMul: linear.matMulGradient,
  Max: arithmetic.extremumGradient,
  MaxPool: pooling.maxPoolGradient,
  Mean: arithmetic.meanGradient,
  Min: arithmetic.extremumGradient,
  Mish: activation.mishGradient,
  Mul: arithmetic.mulGradient,
  Neg: activation.negGradient,
  NegativeLogLikelihoodLoss: softmax.negativeLogLikelihoodGradient,
  OneHot: indexing.oneHotGradient,
  PRelu: activation.pReluGradient,
  Pad: shape.padGradient,
  Pow: arithmetic.powGradient,
  QuantizeLinear: quantization.quantizeLinearGradient,
  RMSNormalization: normalization.rmsNormalizationGradient,
  RNN: recurrent.rnnGradient,
  Reciprocal: activation.reciprocalGradient,
  ReduceL1: reduction.reduceL1Gradient,
  ReduceL2: reduction.reduceL2Gradient,
  ReduceLogSum: reduction.reduceLogSumGradient,
  ReduceLogSumExp: reduction.reduceLogSumExpGradient,
  ReduceMax: reduction.reduceExtremumGradient,
  ReduceMean: reduction.reduceMeanGradient,
  ReduceMin: reduction.reduceExtremumGradient,
  ReduceProd: reduction.reduceProdGradient,
  ReduceSum: reduction.reduceSumGradient,
  ReduceSumSquare: reduction.reduceSumSquareGradient,
  Relu: activation.reluGradient,
  Reshape: shape.reshapeGradient,
  Resize: resizeGradient,
  Round: activation.straightThroughGradient,
  ScatterElements: indexing.scatterElementsGradient,
  ScatterND: indexing.scatterNdGradient,
  Selu: activation.seluGradient,
  Sigmoid: activation.sigmoidGradient,
  Sign: activation.signGradient,
  SimplifiedLayerNormalization: normalization.rmsNormalizationGradient,
  Sin: activation.sinGradient,
  Slice: shape.sliceGradient,
  Softmax: softmax.softmaxGradient,
  SoftmaxCrossEntropyLoss: softmax.softmaxCrossEntropyGradient,
  Softplus: activation.softplusGradient,
  Softsign: activation.softsignGradient,
  SpaceToDepth: shape.spaceToDepthGradient,
  Split: shape.splitGradient,
  Sqrt: activation.sqrtGradient,
  Squeeze: shape.reshapeGradient,
  Sub: arithmetic.subGradient,
  Sum: arithmetic.sumGradient,
  Swish: activation.swishGradient(1),
  Tanh: activation.tanhGradient,
  ThresholdedRelu: activation.thresholdedReluGradient,
  Tile: shape.tileGradient,
  TopK: indexing.topKGradient,
  Transpose: shape.transposeGradient,
  Trilu: shape.triluGradient,
  Unsqueeze: shape.reshapeGradient,
  Where: arithmetic.whereGradient,
};

/** ONNX Runtime's own operators. */
const MICROSOFT_RULES: Readonly<Record<string, GradientRule>> = {
  BiasGelu: activation.biasGeluGradient,
  DequantizeLinear: quantization.dequantizeLinearGradient,
  FastGelu: activation.fastGeluGradient,
  FusedMatMul: linear.fusedMatMulGradient,
  Gelu: activation.geluGradient,
  QuantizeLinear: quantization.quantizeLinearGradient,
  QuickGelu: activation.swishGradient(1.702),
};

/** Gradient rules by `domain:opType` (`:Conv` in the default domain). An operator without one cannot be trained through. */
export const GRADIENT_RULES: ReadonlyMap<string, GradientRule> = new Map([
  ...Object.entries(DEFAULT_RULES).map(([opType, rule]): [string, GradientRule] => [`:${opType}`, rule]),
  ...Object.entries(MICROSOFT_RULES).map(([opType, rule]): [string, GradientRule] => [`com.microsoft:${opType}`, rule]),
  [`${ADDER_DOMAIN}:${ADDER_TYPE}`, adderGradient],
  [`${TERSOR}:${BINARIZE}`, binarizeGradient],
  [`${TERSOR}:${FAKE_QUANTIZE}`, fakeQuantizeGradient],
  [`${TERSOR}:${TERNARIZE}`, ternarizeGradient],
]);
