import { byteLengthOf } from '../data-type.ts';
import { outerNames, usesOf, type Graph } from '../graph.ts';
import type { TypeTable } from '../inference/type-table.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import { Buffers } from './buffers.ts';
import { typesAtBatchOne } from './types-for-cost.ts';

export interface PeakActivation {
  /** Most bytes of activations alive at once; a lower bound when `unknown` is not empty. */
  readonly bytes: number;
  /** The node at which it happens; undefined when the graph has no node. */
  readonly node: Node | undefined;
  /** Values whose size is not known; they count as 0. */
  readonly unknown: readonly string[];
}

/**
 * Peak memory of activations by liveness over the node order: an input lives until its last use, a node's outputs from the
 * node to their last use, graph outputs to the end. Weights, constants and what is computed from them alone are not
 * activations. Reshapes and their kind share their input's memory, unary activations work in place where they are the only
 * reader, and a value between an operator and its QuantizeLinear, or behind a DequantizeLinear, has the quantized size, as
 * in ONNX Runtime's fused int8 kernels. An estimate: allocator, padding and kernel scratch are not in it.
 */
export function peakActivationBytes(model: Model, types: TypeTable = typesAtBatchOne(model)): PeakActivation {
  const unknown = new Set<string>();
  const { bytes, node } = peakOf(model.graph, types, { unknown, outerConstants: new Set() });
  return { bytes, node, unknown: [...unknown] };
}

interface Surroundings {
  readonly unknown: Set<string>;
  readonly outerConstants: ReadonlySet<string>;
}

function peakOf(graph: Graph, types: TypeTable, around: Surroundings): { bytes: number; node: Node | undefined } {
  const constants = constantValues(graph, around.outerConstants);
  const uses = usesOf(graph);
  const buffers = new Buffers(graph, uses);
  const lastUse = new Map<string, number>();
  const touch = (name: string, at: number): void => {
    const buffer = buffers.of(name);
    lastUse.set(buffer, Math.max(lastUse.get(buffer) ?? -1, at));
  };
  for (const [index, node] of graph.nodes.entries()) {
    for (const name of node.inputs) if (name !== '') touch(name, index);
    for (const subgraph of node.subgraphs()) for (const name of outerNames(subgraph)) touch(name, index);
    for (const name of node.outputs) if (name !== '') touch(name, index);
  }
  for (const { name } of graph.outputs) touch(name, graph.nodes.length);
  const expiring = new Map<number, string[]>();
  for (const [buffer, at] of lastUse) expiring.set(at, [...(expiring.get(at) ?? []), buffer]);

  const alive = new Map<string, number>();
  let total = 0;
  const allocate = (name: string): void => {
    const buffer = buffers.of(name);
    if (name === '' || constants.has(name) || alive.has(buffer)) return;
    const bytes = sizeOf(buffers, buffer, { graph, types, unknown: around.unknown });
    alive.set(buffer, bytes);
    total += bytes;
  };
  for (const { name } of graph.inputs) if (!graph.initializers.has(name)) allocate(name);
  let peak = { bytes: total, node: graph.nodes[0] };
  for (const [index, node] of graph.nodes.entries()) {
    node.outputs.forEach(allocate);
    let inner = 0;
    for (const subgraph of node.subgraphs()) {
      inner = Math.max(inner, peakOf(subgraph, types, { unknown: around.unknown, outerConstants: constants }).bytes);
    }
    if (total + inner > peak.bytes) peak = { bytes: total + inner, node };
    for (const buffer of expiring.get(index) ?? []) {
      total -= alive.get(buffer) ?? 0;
      alive.delete(buffer);
    }
  }
  return peak;
}

function sizeOf(
  buffers: Buffers,
  buffer: string,
  context: { readonly graph: Graph; readonly types: TypeTable; readonly unknown: Set<string> },
): number {
  let largest = 0;
  for (const name of buffers.sizedBy(buffer)) {
    const bytes = valueBytes(context.graph, name, context.types);
    if (bytes === undefined) context.unknown.add(name);
    else largest = Math.max(largest, bytes);
  }
  return largest;
}

/** Bytes of a tensor value; undefined when a size is not fixed or it is no tensor. Strings count as 0. */
export function valueBytes(graph: Graph, name: string, types: TypeTable): number | undefined {
  const type = types.of(graph, name);
  if (type?.kind !== 'tensor' || type.shape === undefined) return undefined;
  let count = 1;
  for (const size of type.shape) {
    if (typeof size !== 'number') return undefined;
    count *= size;
  }
  return byteLengthOf(type.elementType, count);
}

/** Values that depend on nothing but initializers and constants: ONNX Runtime folds them when it loads the model. */
function constantValues(graph: Graph, outer: ReadonlySet<string>): Set<string> {
  const constants = new Set<string>(outer);
  for (const name of graph.initializers.keys()) constants.add(name);
  for (const name of graph.sparseInitializers.keys()) constants.add(name);
  for (const input of graph.inputs) if (!graph.initializers.has(input.name)) constants.delete(input.name);
  for (const node of graph.nodes) {
    const isConstant =
      node.subgraphs().length === 0 &&
      !node.opType.startsWith('Random') &&
      node.inputs.every((name) => name === '' || constants.has(name));
    for (const name of node.outputs) {
      if (isConstant) constants.add(name);
      else constants.delete(name);
    }
  }
  return constants;
}
