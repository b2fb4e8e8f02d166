import type { Node } from '../../../onnx/node.ts';
import { constantOf, whyNotConstant, type Constant, type Scope } from '../scope.ts';
import { blocksAlong, type BlockView } from './block-view.ts';

export type SiteKind = 'product' | 'embedding' | 'convolution' | 'recurrent';

/** A place where a node reads a constant weight. */
export interface WeightSite {
  readonly node: Node;
  readonly scope: Scope;
  readonly constant: Constant;
  readonly inputIndex: number;
  readonly kind: SiteKind;
  readonly view: BlockView;
  /** The axis the blocks lie along; where each output has one scale for all its weights, the axis of the outputs. */
  readonly axis: number;
  readonly isBlocked: boolean;
}

/** The weights of a node, each as a site or the reason why it is none; undefined for an operator that has none. */
export function sitesOf(
  node: Node,
  scope: Scope,
  blockSize: number,
): readonly (WeightSite | { readonly reason: string })[] | undefined {
  if (node.domain !== '') return undefined;
  switch (node.opType) {
    case 'MatMul':
      return [productSite(node, scope, blockSize, -2)];
    case 'Gemm':
      return [productSite(node, scope, blockSize, node.int('transB', 0) === 1 ? -1 : -2)];
    case 'Gather':
      return embeddingSites(node, scope, blockSize);
    case 'Conv':
    case 'ConvTranspose':
      return [convolutionSite(node, scope, blockSize)];
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return [1, 2].map((inputIndex) => recurrentSite(node, scope, blockSize, inputIndex));
    default:
      return undefined;
  }
}

type Found = WeightSite | { readonly reason: string };

function productSite(node: Node, scope: Scope, blockSize: number, axisFromEnd: number): Found {
  const constant = weightOf(scope, node.inputs[1] ?? '');
  if ('reason' in constant) {
    const isLeft = constantOf(scope, node.inputs[0] ?? '') !== undefined;
    return isLeft ? { reason: 'its weight is the left operand' } : constant;
  }
  const { dims } = constant.tensor;
  if (dims.length < 2) return { reason: `weight "${constant.tensor.name}" has ${dims.length} axes, a product needs 2` };
  const axis = dims.length + axisFromEnd;
  return {
    node,
    scope,
    constant,
    inputIndex: 1,
    kind: 'product',
    view: blocksAlong(dims, axis, blockSize),
    axis,
    isBlocked: true,
  };
}

/** A Gather of whole rows of a matrix. Any other Gather reads no embedding: constant shapes are gathered from, too. */
function embeddingSites(node: Node, scope: Scope, blockSize: number): readonly Found[] | undefined {
  const constant = constantOf(scope, node.inputs[0] ?? '');
  const dims = constant?.tensor.dims ?? [];
  const axis = node.int('axis', 0);
  if (constant === undefined || dims.length !== 2 || (axis !== 0 && axis !== -2)) return undefined;
  const checked = weightOf(scope, node.inputs[0] ?? '');
  if ('reason' in checked) return [checked];
  const view = blocksAlong(dims, 1, blockSize);
  return [{ node, scope, constant: checked, inputIndex: 0, kind: 'embedding', view, axis: 1, isBlocked: true }];
}

/** Blocks of input channels where there are enough of them; else one scale for all that an output channel sums. */
function convolutionSite(node: Node, scope: Scope, blockSize: number): Found {
  const constant = weightOf(scope, node.inputs[1] ?? '');
  if ('reason' in constant) return constant;
  const { dims } = constant.tensor;
  const site = { node, scope, constant, inputIndex: 1, kind: 'convolution' } as const;
  const inputAxis = node.opType === 'Conv' ? 1 : 0;
  if ((dims[inputAxis] ?? 0) >= blockSize && dims.length >= 3) {
    return { ...site, view: blocksAlong(dims, inputAxis, blockSize), axis: inputAxis, isBlocked: true };
  }
  if (node.opType === 'ConvTranspose') {
    return { reason: `it has ${dims[0] ?? 0} input channels, fewer than a block of ${blockSize}` };
  }
  const [outputs = 1, ...rest] = dims;
  const size = rest.reduce((product, dim) => product * dim, 1);
  return { ...site, view: { outer: outputs, size, inner: 1, blockSize: size }, axis: 0, isBlocked: false };
}

/** W and R: [directions, gates * hidden, inputs]. */
function recurrentSite(node: Node, scope: Scope, blockSize: number, inputIndex: number): Found {
  const constant = weightOf(scope, node.inputs[inputIndex] ?? '');
  if ('reason' in constant) return constant;
  const view = blocksAlong(constant.tensor.dims, 2, blockSize);
  return { node, scope, constant, inputIndex, kind: 'recurrent', view, axis: 2, isBlocked: true };
}

function weightOf(scope: Scope, name: string): Constant | { readonly reason: string } {
  const constant = constantOf(scope, name);
  if (constant === undefined) return { reason: whyNotConstant(scope, name) };
  const { tensor } = constant;
  if (tensor.dataType !== 'float') return { reason: `weight "${name}" is ${tensor.dataType}, not float` };
  if (tensor.elementCount === 0) return { reason: `weight "${name}" is empty` };
  return constant;
}
