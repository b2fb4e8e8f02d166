import { CompressionError } from '../../errors.ts';
import { outerNames, type Graph } from '../graph.ts';
import type { Node } from '../node.ts';
import { quoteNode } from './quote.ts';

/** True when each node stands after the nodes whose outputs it reads (from inside its subgraphs too). O(nodes). */
export function isTopologicallySorted(graph: Graph): boolean {
  const madeHere = new Set<string>();
  for (const node of graph.nodes) for (const output of node.outputs) madeHere.add(output);
  const seen = new Set<string>();
  for (const node of graph.nodes) {
    for (const name of readsOf(node)) if (name !== '' && madeHere.has(name) && !seen.has(name)) return false;
    for (const output of node.outputs) seen.add(output);
  }
  return true;
}

/**
 * The nodes of this graph (subgraphs are not entered) in an order where each stands after what it reads. A sorted graph
 * keeps its order. O(nodes + edges), no recursion over the chain of nodes.
 * @throws CompressionError MODEL_INVALID naming a node on a cycle
 */
export function topologicalOrder(graph: Graph): Node[] {
  const producers = new Map<string, number>();
  graph.nodes.forEach((node, index) => node.outputs.forEach((output) => output !== '' && producers.set(output, index)));
  const dependencies = graph.nodes.map((node) => dependenciesOf(node, producers));
  const state = new Uint8Array(graph.nodes.length); // 0 new, 1 on the path, 2 done
  const order: Node[] = [];
  for (let root = 0; root < graph.nodes.length; root += 1) {
    const path: { index: number; next: number }[] = state[root] === 0 ? [{ index: root, next: 0 }] : [];
    if (path.length > 0) state[root] = 1;
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const dependency = dependencies[top.index]?.[top.next];
      if (dependency === undefined) {
        const node = graph.nodes[top.index];
        if (node !== undefined) order.push(node);
        state[top.index] = 2;
        path.pop();
        continue;
      }
      top.next += 1;
      if (state[dependency] === 1) {
        const node = graph.nodes[dependency];
        throw new CompressionError(
          'MODEL_INVALID',
          `${node === undefined ? 'a node' : quoteNode(node)} depends on its own output: the graph has a cycle; ONNX graphs are acyclic`,
        );
      }
      if (state[dependency] === 0) {
        state[dependency] = 1;
        path.push({ index: dependency, next: 0 });
      }
    }
  }
  return order;
}

/**
 * Puts the nodes of this graph and of every subgraph into topological order. Some writers do not sort them.
 * @returns the number of graphs whose order changed; 0 leaves the model as it is
 * @throws CompressionError MODEL_INVALID naming a node on a cycle
 */
export function sortTopologically(graph: Graph): number {
  let changed = 0;
  const pending = [graph];
  for (let scope = pending.pop(); scope !== undefined; scope = pending.pop()) {
    if (!isTopologicallySorted(scope)) {
      scope.nodes = topologicalOrder(scope);
      changed += 1;
    }
    for (const node of scope.nodes) pending.push(...node.subgraphs());
  }
  return changed;
}

function* readsOf(node: Node): Generator<string> {
  yield* node.inputs;
  for (const subgraph of node.subgraphs()) yield* outerNames(subgraph);
}

function dependenciesOf(node: Node, producers: ReadonlyMap<string, number>): number[] {
  const found: number[] = [];
  for (const name of readsOf(node)) {
    const producer = name === '' ? undefined : producers.get(name);
    if (producer !== undefined) found.push(producer);
  }
  return found;
}
