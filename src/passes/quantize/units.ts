import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { GraphView } from './graph-view.ts';
import { channelAxis, placementOf, type Placement } from './placement.ts';
import type { ActivationType } from './quant-type.ts';
import { allFinite } from './weights.ts';

/** An operator that computes on 8-bit codes (or, at 16 bits, on values rounded to codes). */
export interface ComputeUnit {
  readonly kind: 'compute';
  readonly node: Node;
  readonly placement: Extract<Placement, { kind: 'weighted' | 'product' | 'pointwise' }>;
  /** Input indices that are quantized values. */
  readonly activations: readonly number[];
  /** Input indices that are constants quantized like activations (the other side of an Add, say). */
  readonly constants: readonly number[];
  readonly weight?: UnitWeight;
  readonly bias?: UnitBias;
}

export interface UnitWeight {
  readonly index: number;
  readonly tensor: Tensor;
  /** undefined: one scale for the tensor. */
  readonly axis: number | undefined;
  /** Factor on the weight (Gemm's alpha). */
  readonly factor: number;
}

export interface UnitBias {
  readonly index: number;
  readonly tensor: Tensor;
  /** Factor on the bias (Gemm's beta). */
  readonly factor: number;
  /** Output channels: a bias of one element is repeated. */
  readonly channels: number;
}

/** Moves or clips codes; every output shares scale and zero point with input 0. */
export interface CodesUnit {
  readonly kind: 'codes';
  readonly node: Node;
  readonly clip?: { readonly min: number; readonly max: number };
}

export interface Refusal {
  readonly reason: string;
}

export interface UnitSettings {
  readonly activations: ActivationType;
  /** Whether a node's weight has one scale an output channel. */
  readonly perChannel: (node: Node) => boolean;
  /** Whether int16 saturation is to be ruled out. */
  readonly pairSafe: boolean;
}

/**
 * What a node could be in int8. Undefined for nodes that do not compute with floats (shapes, indices); a refusal says why
 * a node that does stays float.
 */
export function examineCompute(node: Node, view: GraphView, settings: UnitSettings): ComputeUnit | Refusal | undefined {
  if (!node.outputs.some((output) => view.typeOf(output) === 'float')) return undefined;
  if (node.opType === 'DequantizeLinear') return undefined;
  const placement = placementOf(node);
  if (node.subgraphs().length > 0) {
    return { reason: `values inside ${node.opType} are not calibrated; quantize.dynamic quantizes products in there` };
  }
  if (placement === undefined) return { reason: `ONNX Runtime has no int8 kernel for ${node.opType}` };
  switch (placement.kind) {
    case 'moves':
    case 'clips':
      return undefined;
    case 'weighted':
      return examineWeighted(node, placement, view, settings);
    case 'product':
      return examineProduct(node, placement, view, settings);
    case 'pointwise':
      return examinePointwise(node, placement, view);
  }
}

function examineWeighted(
  node: Node,
  placement: ComputeUnit['placement'],
  view: GraphView,
  settings: UnitSettings,
): ComputeUnit | Refusal {
  const obstacle = activationObstacle(node.inputs[0] ?? '', view);
  if (obstacle !== undefined) return { reason: obstacle };
  const weight = weightOf(node, 1, view, settings);
  if ('reason' in weight) return weight;
  const axis = channelAxis(node, weight.tensor.dims.length);
  const channels = axis === undefined ? 1 : (weight.tensor.dims[axis] ?? 1);
  const bias = biasOf(node, channels, view);
  if (bias !== undefined && 'reason' in bias) return bias;
  const unit = { kind: 'compute', node, placement, activations: [0], constants: [], weight } as const;
  return bias === undefined ? unit : { ...unit, bias };
}

function examineProduct(
  node: Node,
  placement: ComputeUnit['placement'],
  view: GraphView,
  settings: UnitSettings,
): ComputeUnit | Refusal {
  const [left = '', right = ''] = node.inputs;
  const unit = { kind: 'compute', node, placement } as const;
  if (view.constantOf(right) !== undefined) {
    const obstacle = activationObstacle(left, view);
    if (obstacle !== undefined) return { reason: obstacle };
    const weight = weightOf(node, 1, view, settings);
    return 'reason' in weight ? weight : { ...unit, activations: [0], constants: [], weight };
  }
  if (settings.activations === 'int8' && settings.pairSafe) {
    return {
      reason: 'a product of two int8 activations could saturate int16 on x64 without VNNI; use uint8 activations',
    };
  }
  const obstacle =
    activationObstacle(right, view) ??
    (view.constantOf(left) === undefined ? activationObstacle(left, view) : undefined);
  if (obstacle !== undefined) return { reason: obstacle };
  return view.constantOf(left) === undefined
    ? { ...unit, activations: [0, 1], constants: [] }
    : { ...unit, activations: [1], constants: [0] };
}

function examinePointwise(
  node: Node,
  placement: Extract<ComputeUnit['placement'], { kind: 'pointwise' }>,
  view: GraphView,
): ComputeUnit | Refusal {
  if (node.opType === 'AveragePool' && node.ints('dilations')?.some((dilation) => dilation !== 1) === true) {
    return { reason: 'the int8 AveragePool kernel has no dilations' };
  }
  const activations: number[] = [];
  const constants: number[] = [];
  const count = placement.activations === 'first' ? 1 : node.inputs.length;
  for (let index = 0; index < count; index += 1) {
    const name = node.inputs[index] ?? '';
    const constant = view.constantOf(name);
    if (constant === undefined) {
      const obstacle = activationObstacle(name, view);
      if (obstacle !== undefined) return { reason: obstacle };
      activations.push(index);
    } else {
      const obstacle = constantObstacle(constant);
      if (obstacle !== undefined) return { reason: obstacle };
      constants.push(index);
    }
  }
  if (activations.length === 0) return { reason: 'all inputs are constants' };
  return { kind: 'compute', node, placement, activations, constants };
}

function activationObstacle(name: string, view: GraphView): string | undefined {
  if (view.constantOf(name) !== undefined) return `input "${name}" is a constant`;
  const type = view.typeOf(name);
  if (type === undefined) return `the type of input "${name}" is not known`;
  if (type !== 'float') return `input "${name}" is ${type}, not float`;
  if (view.producerOf(name)?.opType === 'DequantizeLinear') return `input "${name}" is quantized already`;
  return undefined;
}

function constantObstacle(tensor: Tensor): string | undefined {
  if (tensor.dataType !== 'float') return `"${tensor.name}" is ${tensor.dataType}, not float`;
  if (tensor.elementCount === 0) return `"${tensor.name}" is empty`;
  return allFinite(tensor.floats()) ? undefined : `"${tensor.name}" holds NaN or infinity`;
}

function weightOf(node: Node, index: number, view: GraphView, settings: UnitSettings): UnitWeight | Refusal {
  const name = node.inputs[index] ?? '';
  const tensor = view.constantOf(name);
  if (tensor === undefined) {
    return view.producerOf(name)?.opType === 'DequantizeLinear'
      ? { reason: `weight "${name}" is quantized already` }
      : { reason: `weight "${name}" is not an initializer, or a caller may replace it` };
  }
  const obstacle = constantObstacle(tensor);
  if (obstacle !== undefined) return { reason: obstacle };
  if (tensor.dims.length < 2) return { reason: `weight "${name}" has ${tensor.dims.length} axes, expected 2 or more` };
  const factor = node.opType === 'Gemm' ? node.float('alpha', 1) : 1;
  // ONNX Runtime's kernels take one scale for a batch of constant matrices, or refuse to run.
  const perChannel = settings.perChannel(node) && !(node.opType === 'MatMul' && tensor.dims.length > 2);
  return { index, tensor, factor, axis: perChannel ? channelAxis(node, tensor.dims.length) : undefined };
}

function biasOf(node: Node, channels: number, view: GraphView): UnitBias | Refusal | undefined {
  const name = node.inputs[2] ?? '';
  if (name === '') return undefined;
  const tensor = view.constantOf(name);
  if (tensor === undefined) return { reason: `bias "${name}" is not an initializer, or a caller may replace it` };
  const obstacle = constantObstacle(tensor);
  if (obstacle !== undefined) return { reason: obstacle };
  if (tensor.elementCount !== channels && tensor.elementCount !== 1) {
    return { reason: `bias "${name}" has ${tensor.elementCount} elements, expected one a channel (${channels})` };
  }
  const factor = node.opType === 'Gemm' ? node.float('beta', 1) : 1;
  return { index: 2, tensor, factor, channels };
}
