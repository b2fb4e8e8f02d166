import { describeNode, type Node } from '../../onnx/node.ts';
import { constantOf, whyNotConstant, type Constant, type Scope } from './scope.ts';
import { allFinite } from './weights.ts';

/** A node's weight as its integer operator wants it. */
export interface DynamicLayer {
  readonly node: Node;
  readonly constant: Constant;
  /** How the initializer is laid out: one initializer may be needed in two layouts. */
  readonly layout: 'plain' | 'transposed';
  /** Dimensions in that layout. */
  readonly dims: readonly number[];
  /** Output channel axis in that layout. */
  readonly axis: number;
  /** Shape of the scales (and of a bias a channel), so that they broadcast over the result. */
  readonly channelDims: readonly number[];
  /** Factor on the product (Gemm's alpha). */
  readonly alpha: number;
  /** Added to the product: a value as it is, or a constant times `factor` in shape `dims`. */
  readonly bias:
    | { readonly kind: 'none' }
    | { readonly kind: 'value'; readonly name: string }
    | {
        readonly kind: 'constant';
        readonly constant: Constant;
        readonly factor: number;
        readonly dims: readonly number[];
      };
}

export type Examined = DynamicLayer | { readonly reason: string };

/** What there is to quantize in a node; undefined when its operator has no integer form with run-time activations. */
export function examineDynamic(node: Node, scope: Scope): Examined | undefined {
  if (node.domain !== '') return undefined;
  switch (node.opType) {
    case 'MatMul':
      return examineMatMul(node, scope);
    case 'Gemm':
      return examineGemm(node, scope);
    case 'Conv':
      return examineConv(node, scope);
    case 'GRU':
    case 'RNN':
      return {
        reason: `ONNX Runtime has no integer form of ${node.opType}; quantize.weights with format qdq stores its weights in 8 or 4 bits`,
      };
    case 'ConvTranspose':
      return { reason: `ONNX has no integer form of ${node.opType}` };
    default:
      return undefined;
  }
}

/** Values of a layer's weight in its layout, times alpha. A view when nothing changes. */
export function layerValues(layer: DynamicLayer): Float32Array {
  const values = layer.constant.tensor.floats();
  const scaled = layer.alpha === 1 ? values : values.map((value) => value * layer.alpha);
  if (layer.layout === 'plain') return scaled;
  const [rows = 0, columns = 0] = layer.dims;
  const transposed = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      transposed[row * columns + column] = scaled[column * rows + row] ?? 0;
    }
  }
  return transposed;
}

/** The float initializer behind a name, or why there is none that can be quantized. */
export function floatConstant(scope: Scope, name: string): Constant | { readonly reason: string } {
  const constant = constantOf(scope, name);
  if (constant === undefined) return { reason: whyNotConstant(scope, name) };
  const { tensor } = constant;
  if (tensor.dataType !== 'float') return { reason: `weight "${name}" is ${tensor.dataType}, not float` };
  if (tensor.elementCount === 0) return { reason: `weight "${name}" is empty` };
  if (!allFinite(tensor.floats())) return { reason: `weight "${name}" holds NaN or infinity` };
  return constant;
}

function examineMatMul(node: Node, scope: Scope): Examined {
  const weight = floatConstant(scope, node.inputs[1] ?? '');
  if ('reason' in weight) return weight;
  const { dims } = weight.tensor;
  if (dims.length < 2)
    return { reason: `weight "${weight.tensor.name}" has ${dims.length} axes; a product with columns needs 2` };
  // Columns are the last axis whatever the rank: axis 1 would be the rows of a batch of matrices.
  const columns = dims.at(-1) ?? 1;
  return {
    node,
    constant: weight,
    layout: 'plain',
    dims,
    axis: -1,
    channelDims: [columns],
    alpha: 1,
    bias: { kind: 'none' },
  };
}

function examineGemm(node: Node, scope: Scope): Examined {
  const weight = floatConstant(scope, node.inputs[1] ?? '');
  if ('reason' in weight) return weight;
  if (node.int('transA', 0) !== 0) return { reason: 'transA=1: the input would have to be transposed at run time' };
  const { dims } = weight.tensor;
  const [first = 1, second = 1] = dims;
  const transposed = node.int('transB', 0) !== 0;
  const bias = gemmBias(node, scope);
  if ('reason' in bias) return bias;
  return {
    node,
    constant: weight,
    layout: transposed ? 'transposed' : 'plain',
    dims: transposed ? [second, first] : dims,
    axis: 1,
    channelDims: [transposed ? first : second],
    alpha: node.float('alpha', 1),
    bias,
  };
}

function gemmBias(node: Node, scope: Scope): DynamicLayer['bias'] | { readonly reason: string } {
  const name = node.inputs[2] ?? '';
  const beta = node.float('beta', 1);
  if (name === '' || beta === 0) return { kind: 'none' };
  if (beta === 1) return { kind: 'value', name };
  const constant = floatConstant(scope, name);
  if ('reason' in constant) return { reason: `beta=${beta}: ${constant.reason}` };
  return { kind: 'constant', constant, factor: beta, dims: constant.tensor.dims };
}

function examineConv(node: Node, scope: Scope): Examined {
  const weight = floatConstant(scope, node.inputs[1] ?? '');
  if ('reason' in weight) return weight;
  const { dims } = weight.tensor;
  if (dims.length < 3) return { reason: `${describeNode(node)}: weight has ${dims.length} axes, expected 3 or more` };
  const channelDims = [dims[0] ?? 1, ...dims.slice(2).map(() => 1)];
  const layer = { node, constant: weight, layout: 'plain', dims, axis: 0, channelDims, alpha: 1 } as const;
  const name = node.inputs[2] ?? '';
  if (name === '') return { ...layer, bias: { kind: 'none' } };
  const constant = floatConstant(scope, name);
  if ('reason' in constant) return { reason: `bias: ${constant.reason}` };
  return { ...layer, bias: { kind: 'constant', constant, factor: 1, dims: channelDims } };
}
