import { withSubgraphs, type Graph } from '../graph.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import type { Dimension, ValueInfo } from '../value-type.ts';
import { typeText } from './print-type.ts';

export interface SummaryValue {
  readonly name: string;
  /** The element type of a tensor (`float`), else the whole type in ONNX text (`seq(float[])`); null when not stated. */
  readonly type: string | null;
  /** Null when the rank is unknown, or for what is no tensor. */
  readonly shape: readonly Dimension[] | null;
}

export interface ModelSummary {
  readonly irVersion: number;
  /** Opset version by domain; the default domain is the empty string. */
  readonly opset: Readonly<Record<string, number>>;
  readonly producer: string;
  /** What a caller must feed: initializers listed as inputs, which have defaults, are left out. */
  readonly inputs: readonly SummaryValue[];
  readonly outputs: readonly SummaryValue[];
  /** Nodes by type, `domain:type` outside the default domain; subgraphs and function bodies counted once. Sorted. */
  readonly operators: Readonly<Record<string, number>>;
  /** Elements of weights, see `countWeightElements`. */
  readonly parameters: number;
}

/** The facts of a model that need no tensor data: external files are not read. O(nodes + initializers). */
export function summarizeModel(model: Model): ModelSummary {
  return {
    irVersion: model.irVersion,
    opset: Object.fromEntries(model.opsetImports),
    producer: [model.producerName, model.producerVersion].filter((part) => part !== '').join(' '),
    inputs: model.graph.inputs.filter((input) => !model.graph.initializers.has(input.name)).map(summaryValue),
    outputs: model.graph.outputs.map(summaryValue),
    operators: operatorCounts(model),
    parameters: countWeightElements(model),
  };
}

function summaryValue({ name, type }: ValueInfo): SummaryValue {
  if (type === undefined) return { name, type: null, shape: null };
  if (type.kind === 'tensor') return { name, type: type.elementType, shape: type.shape ?? null };
  return { name, type: typeText(type), shape: null };
}

function operatorCounts(model: Model): Record<string, number> {
  const counts = new Map<string, number>();
  for (const node of allNodes(model)) {
    const key = node.domain === '' ? node.opType : `${node.domain}:${node.opType}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function* allNodes(model: Model): Generator<Node> {
  for (const graph of withSubgraphs(model.graph)) yield* graph.nodes;
  for (const item of model.functions) {
    yield* item.nodes;
    for (const node of item.nodes) {
      for (const body of node.subgraphs()) for (const graph of withSubgraphs(body)) yield* graph.nodes;
    }
  }
}

/** Input positions of scales and zero points: they say how weights are stored, they are not weights. */
const QUANTIZATION_INPUTS: Readonly<Record<string, readonly number[]>> = {
  QuantizeLinear: [1, 2],
  DequantizeLinear: [1, 2],
  QLinearConv: [1, 2, 4, 5, 6, 7],
  QLinearMatMul: [1, 2, 4, 5, 6, 7],
  QLinearAdd: [1, 2, 4, 5, 6, 7],
  QLinearMul: [1, 2, 4, 5, 6, 7],
  QGemm: [1, 2, 4, 5, 7, 8],
  MatMulInteger: [2, 3],
  ConvInteger: [2, 3],
  DynamicQuantizeMatMul: [2, 3],
  MatMulIntegerToFloat: [2, 3, 4, 5],
  MatMulNBits: [2, 3],
  DynamicQuantizeLSTM: [8, 9, 10, 11],
};

/** Bias of an integer convolution or product: int32, yet learned. */
const INTEGER_BIAS_INPUTS: Readonly<Record<string, number>> = { QLinearConv: 8, QGemm: 6, DequantizeLinear: 0 };

/**
 * Weights of a model: elements of its initializers and Constant tensors, subgraphs included, each tensor once. Not
 * counted: scales and zero points, and integers of 16 bits and more (shapes, axes, indices) unless they are the bias of a
 * quantized operator. MatMulNBits counts N x K. Statistics of BatchNormalization count, as they are stored.
 */
export function countWeightElements(model: Model): number {
  let total = 0;
  for (const graph of withSubgraphs(model.graph)) total += countInGraph(graph);
  return total;
}

function countInGraph(graph: Graph): number {
  const constants = new Map<string, Tensor>(graph.initializers);
  for (const node of graph.nodes) {
    const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    const output = node.outputs[0];
    if (value?.kind === 'tensor' && output !== undefined) constants.set(output, value.value);
  }
  const scales = new Set<string>();
  const biases = new Set<string>();
  const packed = new Map<string, number>();
  const activationScales = new Set<string>();
  for (const node of graph.nodes) {
    for (const index of QUANTIZATION_INPUTS[node.opType] ?? []) scales.add(node.inputs[index] ?? '');
    const bias = INTEGER_BIAS_INPUTS[node.opType];
    if (bias !== undefined) biases.add(node.inputs[bias] ?? '');
    if (node.opType === 'MatMulNBits') packed.set(node.inputs[1] ?? '', size(node, 'N') * size(node, 'K'));
    if (node.opType === 'DynamicQuantizeLinear') activationScales.add(node.outputs[1] ?? '');
  }
  // Dynamic quantization multiplies the activation's scale by the weight's: that constant is a scale too.
  for (const node of graph.nodes) {
    if (node.opType !== 'Mul' || !node.inputs.some((name) => activationScales.has(name))) continue;
    for (const name of node.inputs) scales.add(name);
  }
  let total = 0;
  for (const [name, tensor] of constants) {
    if (packed.has(name)) total += packed.get(name) ?? 0;
    else if (!scales.has(name) && (biases.has(name) || mayBeWeight(tensor))) total += tensor.elementCount;
  }
  return total;
}

/** The model may not be verified yet, so an attribute of another kind counts nothing instead of throwing. */
function size(node: Node, name: string): number {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'int' ? Number(attribute.value) : 0;
}

function mayBeWeight(tensor: Tensor): boolean {
  return !/^(u?int(16|32|64)|bool|string|complex\d+)$/.test(tensor.dataType);
}
