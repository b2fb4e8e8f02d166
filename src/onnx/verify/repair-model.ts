import { withSubgraphs, type Graph } from '../graph.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import { sortTopologically } from './topological-order.ts';

export interface Repairs {
  /** Graphs whose nodes were put into topological order. */
  readonly sortedGraphs: number;
  /** Constant nodes dropped because a later Constant has the same output name. */
  readonly droppedConstants: number;
}

/**
 * Mends what real exporters get wrong and ONNX Runtime silently accepts, so that the model then verifies: nodes out of
 * order, and Constant nodes with the same output name, of which ONNX Runtime takes the last. To be called once, after
 * decoding; the nesting must be within the decoder's limits. A sound model is not changed.
 *
 * @throws CompressionError MODEL_INVALID for a graph with a cycle
 */
export function repairModel(model: Model): Repairs {
  let droppedConstants = 0;
  for (const graph of withSubgraphs(model.graph)) droppedConstants += dropEarlierConstants(graph);
  return { sortedGraphs: sortTopologically(model.graph), droppedConstants };
}

function dropEarlierConstants(graph: Graph): number {
  const last = new Map<string, Node>();
  for (const node of graph.nodes) if (isConstant(node)) last.set(node.outputs[0] ?? '', node);
  const kept = graph.nodes.filter((node) => !isConstant(node) || last.get(node.outputs[0] ?? '') === node);
  const dropped = graph.nodes.length - kept.length;
  if (dropped > 0) graph.nodes = kept;
  return dropped;
}

function isConstant(node: Node): boolean {
  return node.opType === 'Constant' && node.domain === '' && node.outputs.length === 1;
}
