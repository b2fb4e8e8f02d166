import type { Graph } from '../../onnx/graph.ts';
import { usesOf, withSubgraphs } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import type { Skipped } from '../pass.ts';
import { filterNodes, nodeLabel, type NodeFilter } from '../quantize/node-filter.ts';
import { constantOf, whyNotConstant } from '../quantize/scope.ts';

/**
 * A weight as a matrix [outputs, inputs x kernel]: element (o, i, k) of the tensor lies at
 * o * outputStride + i * inputStride + k. `inputs` are those of one group.
 */
export interface MatrixLayout {
  readonly outputs: number;
  readonly inputs: number;
  readonly kernel: number;
  readonly outputStride: number;
  readonly inputStride: number;
  /** Rows are split evenly among the groups; each sees its own `inputs`. */
  readonly groups: number;
}

/** A weight whose elements may become zero. */
export interface WeightTarget {
  /** The initializer. */
  readonly name: string;
  readonly dims: readonly number[];
  readonly elements: number;
  /** Its readers: more than one where they share it. */
  readonly nodes: readonly Node[];
  readonly layout: MatrixLayout;
}

/** Operators whose second input is a weight that pruning may thin out. Biases, normalizations and embeddings stay. */
const PRUNABLE = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

/**
 * The weights of Conv, ConvTranspose, Gemm and MatMul that a filter of node names or operator types leaves, in graph order.
 *
 * @returns the targets, and every node that was left alone with the reason
 * @throws CompressionError RECIPE_NO_MATCH when a glob matches no such node
 */
export function weightTargets(
  model: Model,
  filter: NodeFilter,
): { readonly targets: readonly WeightTarget[]; readonly skipped: readonly Skipped[] } {
  const { graph } = model;
  const isPrunable = (node: Node): boolean => node.domain === '' && PRUNABLE.has(node.opType);
  const candidates = graph.nodes.filter(isPrunable);
  const kept = filterNodes(candidates, filter);
  const uses = usesOf(graph);
  const skipped: Skipped[] = [];
  const targets = new Map<string, WeightTarget>();
  for (const node of candidates) {
    const skip = (reason: string): void => void skipped.push({ node: nodeLabel(node), reason });
    if (!kept.has(node)) {
      skip('excluded by the options');
      continue;
    }
    const name = node.inputs[1] ?? '';
    const reason = obstacle(graph, node, name);
    const layout = reason === undefined ? layoutOf(node, graph.initializers.get(name)?.dims ?? []) : undefined;
    if (layout === undefined) {
      skip(reason ?? `weight "${name}" is [${(graph.initializers.get(name)?.dims ?? []).join(', ')}], no matrix`);
      continue;
    }
    const readers = uses.get(name) ?? [];
    const foreign = readers.find((use) => use.inputIndex !== 1 || !candidates.includes(use.node));
    if (foreign !== undefined) {
      skip(`weight "${name}" is shared with ${nodeLabel(foreign.node)} (${foreign.node.opType}), which is no layer`);
      continue;
    }
    const known = targets.get(name);
    if (known !== undefined) {
      targets.set(name, { ...known, nodes: [...known.nodes, node] });
      continue;
    }
    const unfit = readers.find(
      (use) => JSON.stringify(layoutOf(use.node, graph.initializers.get(name)?.dims ?? [])) !== JSON.stringify(layout),
    );
    const left = readers.find((use) => !kept.has(use.node));
    if (unfit !== undefined || left !== undefined) {
      const other = nodeLabel((unfit ?? left)?.node ?? node);
      skip(
        `weight "${name}" is shared with ${other}, which ${unfit === undefined ? 'is excluded' : 'reads it in another layout'}`,
      );
      continue;
    }
    const dims = graph.initializers.get(name)?.dims ?? [];
    targets.set(name, { name, dims, elements: elementCount(dims), nodes: [node], layout });
  }
  for (const inner of withSubgraphs(graph)) {
    if (inner === graph) continue;
    for (const node of inner.nodes.filter(isPrunable)) {
      skipped.push({ node: nodeLabel(node), reason: 'it lies in a subgraph' });
    }
  }
  return { targets: [...targets.values()], skipped };
}

function obstacle(graph: Graph, node: Node, name: string): string | undefined {
  const constant = constantOf({ graph }, name);
  if (constant === undefined) {
    return graph.initializers.has(node.inputs[0] ?? '')
      ? 'its weight is the left operand'
      : whyNotConstant({ graph }, name);
  }
  const { tensor } = constant;
  if (graph.outputs.some((output) => output.name === name)) return `weight "${name}" is also an output of the graph`;
  if (tensor.dataType !== 'float') return `weight "${name}" is ${tensor.dataType}, not float`;
  return tensor.elementCount === 0 ? `weight "${name}" is empty` : undefined;
}

function layoutOf(node: Node, dims: readonly number[]): MatrixLayout | undefined {
  const [first = 0, second = 0, ...window] = dims;
  const kernel = elementCount(window);
  const groups = node.int('group', 1);
  const matrix = { kernel: 1, groups: 1 };
  switch (node.opType) {
    case 'Conv':
      if (dims.length < 3) return undefined;
      return { outputs: first, inputs: second, kernel, outputStride: second * kernel, inputStride: kernel, groups };
    case 'ConvTranspose':
      if (dims.length < 3 || groups !== 1) return undefined;
      return { outputs: second, inputs: first, kernel, outputStride: kernel, inputStride: second * kernel, groups };
    case 'Gemm':
      if (dims.length !== 2) return undefined;
      return node.int('transB', 0) === 1
        ? { ...matrix, outputs: first, inputs: second, outputStride: second, inputStride: 1 }
        : { ...matrix, outputs: second, inputs: first, outputStride: 1, inputStride: second };
    default:
      if (dims.length !== 2) return undefined;
      return { ...matrix, outputs: second, inputs: first, outputStride: 1, inputStride: second };
  }
}

/** What the report calls a weight: the layer that reads it. */
export function targetLabel(target: WeightTarget): string {
  const [node] = target.nodes;
  return node === undefined ? target.name : nodeLabel(node);
}
