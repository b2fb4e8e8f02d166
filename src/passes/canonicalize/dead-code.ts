import { outerNames, type Graph } from '../../onnx/graph.ts';
import type { Scope } from './scope.ts';

/**
 * Removes nodes whose outputs nobody reads, initializers nobody reads (unless they are graph inputs too: those belong
 * to the interface), and types of values that are gone. The nodes must be in topological order. O(nodes).
 *
 * @returns how many nodes and initializers were removed; stale types go with them and are not counted
 */
export function removeDeadCode({ graph }: Scope): number {
  const live = new Set<string>(graph.outputs.map((output) => output.name));
  const kept: typeof graph.nodes = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => name !== '' && live.has(name))) continue;
    kept.push(node);
    for (const name of node.inputs) live.add(name);
    for (const subgraph of node.subgraphs()) for (const name of outerNames(subgraph)) live.add(name);
  }
  let removed = graph.nodes.length - kept.length;
  if (removed > 0) graph.nodes = kept.reverse();

  const inputs = new Set(graph.inputs.map((input) => input.name));
  for (const name of [...graph.initializers.keys()]) {
    if (live.has(name) || inputs.has(name)) continue;
    graph.initializers.delete(name);
    removed += 1;
  }
  for (const name of [...graph.sparseInitializers.keys()]) {
    if (live.has(name) || inputs.has(name)) continue;
    graph.sparseInitializers.delete(name);
    removed += 1;
  }
  if (removed > 0) dropStaleTypes(graph);
  return removed;
}

/** Drops the types of values that the graph no longer has. */
function dropStaleTypes(graph: Graph): void {
  if (graph.valueInfos.size === 0) return;
  const present = new Set<string>([...graph.initializers.keys(), ...graph.sparseInitializers.keys()]);
  for (const input of graph.inputs) present.add(input.name);
  for (const node of graph.nodes) for (const output of node.outputs) present.add(output);
  for (const name of [...graph.valueInfos.keys()]) if (!present.has(name)) graph.valueInfos.delete(name);
}
