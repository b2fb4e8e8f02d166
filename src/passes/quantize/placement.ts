import type { Node } from '../../onnx/node.ts';
import type { Kernel } from '../cost/kernel-benchmarks.ts';

/**
 * How an operator takes part in int8.
 * - `weighted`: activation, constant weight, optional bias; its own kernel.
 * - `product`: both operands may be activations, or the second a constant.
 * - `pointwise`: all inputs and the output quantized, each with its own scale; its own kernel.
 * - `moves`: moves codes and computes nothing, so it runs on the codes themselves; the output shares scale and zero point.
 * - `clips`: Relu and Clip on the codes; shares scale and zero point; dropped when the quantizer clips the same.
 */
export type Placement =
  | { readonly kind: 'weighted'; readonly kernel: Kernel; readonly outputMayStayFloat: boolean }
  | { readonly kind: 'product'; readonly kernel: Kernel; readonly outputMayStayFloat: true }
  | { readonly kind: 'pointwise'; readonly kernel: Kernel; readonly activations: 'all' | 'first' }
  | { readonly kind: 'moves'; readonly kernel?: Kernel }
  | { readonly kind: 'clips' };

/** Operators that ONNX Runtime's CPU provider computes on 8-bit codes; all others stay float. */
const PLACEMENTS: Readonly<Record<string, Placement>> = {
  Conv: { kind: 'weighted', kernel: 'conv', outputMayStayFloat: false },
  Gemm: { kind: 'weighted', kernel: 'matmul', outputMayStayFloat: true },
  MatMul: { kind: 'product', kernel: 'matmul', outputMayStayFloat: true },
  Add: { kind: 'pointwise', kernel: 'add', activations: 'all' },
  Mul: { kind: 'pointwise', kernel: 'add', activations: 'all' },
  Concat: { kind: 'pointwise', kernel: 'add', activations: 'all' },
  AveragePool: { kind: 'pointwise', kernel: 'average-pool', activations: 'first' },
  GlobalAveragePool: { kind: 'pointwise', kernel: 'add', activations: 'first' },
  LeakyRelu: { kind: 'pointwise', kernel: 'sigmoid', activations: 'first' },
  Sigmoid: { kind: 'pointwise', kernel: 'sigmoid', activations: 'first' },
  Softmax: { kind: 'pointwise', kernel: 'sigmoid', activations: 'first' },
  Relu: { kind: 'clips' },
  Clip: { kind: 'clips' },
  MaxPool: { kind: 'moves', kernel: 'max-pool' },
  DepthToSpace: { kind: 'moves' },
  Flatten: { kind: 'moves' },
  Gather: { kind: 'moves' },
  Identity: { kind: 'moves' },
  Pad: { kind: 'moves' },
  Reshape: { kind: 'moves' },
  Resize: { kind: 'moves' },
  Slice: { kind: 'moves' },
  Split: { kind: 'moves' },
  Squeeze: { kind: 'moves' },
  Transpose: { kind: 'moves' },
  Unsqueeze: { kind: 'moves' },
};

export function placementOf(node: Node): Placement | undefined {
  return node.domain === '' && Object.hasOwn(PLACEMENTS, node.opType) ? PLACEMENTS[node.opType] : undefined;
}

/**
 * The axis of a weight that holds output channels, for one scale a channel; undefined: one scale for the tensor.
 * MatMul: always the last axis, whatever the rank. Gemm: by transB. ConvTranspose holds `[C, M/group, ...]`: axis 1 is the
 * output channel only without groups.
 */
export function channelAxis(node: Node, rank: number): number | undefined {
  switch (node.opType) {
    case 'Conv':
      return 0;
    case 'ConvTranspose':
      return node.int('group', 1) === 1 ? 1 : undefined;
    case 'Gemm':
      return node.int('transB', 0) === 0 ? 1 : 0;
    case 'MatMul':
      return rank - 1;
    default:
      return undefined;
  }
}
