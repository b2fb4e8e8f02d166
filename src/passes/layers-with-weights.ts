import type { Model } from '../onnx/model.ts';
import { filterNodes, nodeLabel, type NodeFilter } from './quantize/node-filter.ts';

/** Operators whose second input is the weight that passes work on. */
const WITH_WEIGHTS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

/**
 * Names of the layers that a filter leaves, in graph order, for searches over `exclude`. Those that share a weight go by the first.
 *
 * @param further - operators besides Conv, ConvTranspose, Gemm and MatMul
 */
export function layersWithWeights({ graph }: Model, filter: NodeFilter, further: readonly string[] = []): string[] {
  const kept = filterNodes(graph.nodes, filter);
  const names = new Map<string, string>();
  for (const node of graph.nodes) {
    const weight = node.inputs[1] ?? '';
    const isLayer = WITH_WEIGHTS.has(node.opType) || further.includes(node.opType);
    if (!kept.has(node) || !isLayer || !graph.initializers.has(weight) || names.has(weight)) continue;
    names.set(weight, nodeLabel(node));
  }
  return [...names.values()];
}
