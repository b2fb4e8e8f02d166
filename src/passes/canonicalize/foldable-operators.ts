import { defined } from '../../errors.ts';
import type { Node } from '../../onnx/node.ts';

/**
 * Operators of the default domain whose result depends on their inputs alone and costs about as much as its size. Not
 * here: random ones; those with subgraphs, sequences or strings; QuantizeLinear, DequantizeLinear and BitwiseAnd, because
 * folding them would undo a compression (BitwiseAnd takes packed bits apart); and what needs more than one visit per element and is not accounted for in
 * `foldingWork`.
 */
export const FOLDABLE_OPERATORS: ReadonlySet<string> = new Set(
  `Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseNot BitwiseOr
  BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat ConstantOfShape Cos Cosh CumSum DepthToSpace Div Elu Equal Erf
  Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual HardSigmoid HardSwish
  Hardmax Identity IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Mean Min Mish Mod
  Mul Neg NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
  ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Selu Shape
  Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
  ThresholdedRelu Tile Transpose Trilu Unsqueeze Where Xor`.split(/\s+/),
);

/** About how many elementary steps the node takes, from the dimensions of its inputs and its output elements. */
export function foldingWork(node: Node, inputs: readonly (readonly number[])[], outputElements: number): number {
  const read = inputs.reduce((sum, dims) => sum + dims.reduce((count, dim) => count * dim, 1), 0);
  if (node.opType !== 'MatMul' && node.opType !== 'Gemm') return read + outputElements;
  const dims = defined(inputs[0], `${node.opType} input 0`);
  const inner = node.opType === 'Gemm' && node.int('transA', 0) !== 0 ? dims[0] : dims.at(-1);
  return read + outputElements * (inner ?? 1);
}
