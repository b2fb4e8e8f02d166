import { outerNames, type Graph } from '../onnx/graph.ts';

/** Takes away nodes and initializers that no output depends on. The nodes are in topological order. O(nodes). */
export function pruneGraph(graph: Graph): void {
  const needed = new Set(graph.outputs.map(({ name }) => name));
  const kept = graph.nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => needed.has(output))) return false;
    for (const input of node.inputs) needed.add(input);
    for (const subgraph of node.subgraphs()) for (const name of outerNames(subgraph)) needed.add(name);
    return true;
  });
  graph.nodes = kept.reverse();
  for (const name of graph.initializers.keys()) if (!needed.has(name)) graph.initializers.delete(name);
}
