import { producersOf, usesOf, type Use } from '../../onnx/graph.ts';
import { macsOf } from '../../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../onnx/cost/types-for-cost.ts';
import type { Model } from '../../onnx/model.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { Skipped } from '../pass.ts';
import { nodeLabel } from '../quantize/node-filter.ts';

/** A layer that multiplies its input by one constant matrix, at many places. */
export interface DenseLayer {
  readonly node: Node;
  readonly label: string;
  readonly kind: 'Conv' | 'Gemm' | 'MatMul';
  /** [outputs, inputs, ...kernel], row-major: each row makes one output. */
  readonly weight: Float64Array;
  readonly weightName: string;
  readonly outputs: number;
  readonly inputs: number;
  /** Spatial sizes of a Conv's filter; empty for products. */
  readonly kernel: readonly number[];
  /** How often the matrix is applied in one run (batch 1): undefined when a size is open. */
  readonly positions: number | undefined;
  /** Input and output shape at batch 1, as far as known. */
  readonly inputShape: readonly (number | undefined)[] | undefined;
  readonly outputShape: readonly (number | undefined)[] | undefined;
}

export interface FoundLayers {
  readonly layers: readonly DenseLayer[];
  readonly skipped: readonly Skipped[];
  /** Multiply-accumulates of the model at batch 1, as far as they can be counted. */
  readonly totalMacs: number;
}

/** Columns of the layer's matrix. */
export function fanIn(layer: DenseLayer): number {
  return layer.inputs * elementCount(layer.kernel);
}

/** Multiply-accumulates of the layer at batch 1; of one position where the number of positions is open. */
export function layerMacs(layer: DenseLayer): number {
  return (layer.positions ?? 1) * layer.weight.length;
}

const LINEAR: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

/**
 * The layers of the main graph that a product of smaller ones may replace, in graph order, and what is left alone.
 *
 * @param kept - the nodes that the step's filter keeps
 */
export function findDenseLayers(model: Model, kept: ReadonlySet<Node>): FoundLayers {
  const finder = new LayerFinder(model);
  const layers: DenseLayer[] = [];
  const skipped: Skipped[] = [];
  for (const node of model.graph.nodes) {
    if (!kept.has(node) || node.domain !== '' || !LINEAR.has(node.opType)) continue;
    const found = finder.layerOf(node);
    if (typeof found === 'string') skipped.push({ node: nodeLabel(node), reason: found });
    else layers.push(found);
  }
  return { layers, skipped, totalMacs: finder.totalMacs };
}

class LayerFinder {
  readonly totalMacs: number;
  readonly #model: Model;
  readonly #uses: ReadonlyMap<string, readonly Use[]>;
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #overridable: ReadonlySet<string>;
  readonly #outputs: ReadonlySet<string>;
  readonly #types: ReturnType<typeof typesAtBatchOne>;
  readonly #macs: ReadonlyMap<Node, number>;

  constructor(model: Model) {
    this.#model = model;
    this.#uses = usesOf(model.graph);
    this.#producers = producersOf(model.graph);
    this.#overridable = new Set(model.graph.inputs.map(({ name }) => name));
    this.#outputs = new Set(model.graph.outputs.map(({ name }) => name));
    this.#types = typesAtBatchOne(model);
    const count = macsOf(model, this.#types);
    this.totalMacs = count.total;
    this.#macs = new Map(count.nodes.map(({ node, macs }) => [node, macs]));
  }

  /** The layer, or why it is none. */
  layerOf(node: Node): DenseLayer | string {
    if (node.opType === 'ConvTranspose') return 'ConvTranspose is not factorized';
    const weightName = node.inputs[1] ?? '';
    const tensor = this.#constant(weightName);
    if (tensor === undefined) return 'its weight is computed or may be given by the caller';
    if (tensor.dataType !== 'float') return `its weight is ${tensor.dataType}, expected float`;
    if ((this.#uses.get(weightName) ?? []).length > 1 || this.#outputs.has(weightName)) {
      return 'its weight is shared with other nodes';
    }
    const pair = this.#pairOf(node);
    if (pair !== undefined) return pair;
    const shape = matrixOf(node, tensor);
    if (typeof shape === 'string') return shape;
    const macs = this.#macs.get(node);
    return {
      node,
      label: nodeLabel(node),
      kind: shape.kind,
      weight: shape.weight,
      weightName,
      outputs: shape.outputs,
      inputs: shape.inputs,
      kernel: shape.kernel,
      positions: macs === undefined ? undefined : macs / tensor.elementCount,
      inputShape: this.#shape(node.inputs[0] ?? ''),
      outputShape: this.#shape(node.outputs[0] ?? ''),
    };
  }

  /** Two layers with nothing between are a factored one already: factoring them again would never end. */
  #pairOf(node: Node): string | undefined {
    const before = this.#producers.get(node.inputs[0] ?? '');
    if (before !== undefined && this.#isDense(before) && this.#isOnlyReadBy(before, node)) {
      return `it follows "${nodeLabel(before)}" with nothing between: the two are a low-rank pair already`;
    }
    const output = node.outputs[0] ?? '';
    const [reader] = this.#uses.get(output) ?? [];
    if (reader?.inputIndex === 0 && this.#isDense(reader.node) && this.#isOnlyReadBy(node, reader.node)) {
      return `"${nodeLabel(reader.node)}" follows with nothing between: the two are a low-rank pair already`;
    }
    return undefined;
  }

  #isDense(node: Node): boolean {
    if (node.domain !== '' || !['Conv', 'Gemm', 'MatMul'].includes(node.opType)) return false;
    return this.#constant(node.inputs[1] ?? '') !== undefined && (node.opType !== 'Conv' || node.int('group', 1) === 1);
  }

  #isOnlyReadBy(node: Node, reader: Node): boolean {
    const output = node.outputs[0] ?? '';
    const readers = this.#uses.get(output) ?? [];
    return readers.length === 1 && readers[0]?.node === reader && !this.#outputs.has(output);
  }

  #constant(name: string): Tensor | undefined {
    return this.#overridable.has(name) ? undefined : this.#model.graph.initializers.get(name);
  }

  #shape(value: string): (number | undefined)[] | undefined {
    const shape = this.#types.shape(this.#model.graph, value);
    return shape?.map((size) => (typeof size === 'number' ? size : undefined));
  }
}

type Matrix = Pick<DenseLayer, 'kind' | 'weight' | 'outputs' | 'inputs' | 'kernel'>;

function matrixOf(node: Node, tensor: Tensor): Matrix | string {
  const { dims } = tensor;
  const [first = 0, second = 0, ...kernel] = dims;
  const values = tensor.floats();
  if (values.length === 0) return 'its weight is empty';
  if (!values.every((value) => Number.isFinite(value))) return 'its weight holds values that are not finite';
  if (node.opType === 'Conv') {
    const group = node.int('group', 1);
    if (group > 1 && second === 1) return 'depthwise: each filter reads one channel, there is no rank to reduce';
    if (group > 1) return `grouped convolution (${group} groups)`;
    return { kind: 'Conv', weight: Float64Array.from(values), outputs: first, inputs: second, kernel };
  }
  if (dims.length !== 2) return `its weight is [${dims.join(', ')}], expected a matrix`;
  if (node.opType === 'Gemm') {
    if (node.int('transA', 0) === 1) return 'its input is transposed (transA)';
    if (node.int('transB', 0) === 1) {
      return { kind: 'Gemm', weight: Float64Array.from(values), outputs: first, inputs: second, kernel: [] };
    }
  }
  const weight = new Float64Array(values.length);
  for (let i = 0; i < first; i += 1) {
    for (let j = 0; j < second; j += 1) weight[j * first + i] = values[i * second + j] ?? 0;
  }
  return { kind: node.opType === 'Gemm' ? 'Gemm' : 'MatMul', weight, outputs: second, inputs: first, kernel: [] };
}
