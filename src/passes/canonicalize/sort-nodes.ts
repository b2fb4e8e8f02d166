import { CompressionError } from '../../errors.ts';
import { outerNames, type Graph } from '../../onnx/graph.ts';
import { describeNode, type Node } from '../../onnx/node.ts';

/**
 * Puts nodes behind the nodes they read from; nodes keep their order as far as that allows. A sorted graph is left as
 * it is. O(nodes + edges), without recursion.
 *
 * @returns how many nodes stood before one of their producers
 * @throws CompressionError MODEL_INVALID when the graph has a cycle
 */
export function sortNodes(graph: Graph): number {
  const position = new Map<string, number>();
  graph.nodes.forEach((node, index) => {
    for (const output of node.outputs) if (output !== '') position.set(output, index);
  });
  let early = 0;
  const producers = graph.nodes.map((node, index) => {
    const indices = [...readsOf(node)].map((name) => position.get(name)).filter((found) => found !== undefined);
    if (indices.some((found) => found >= index)) early += 1;
    return indices;
  });
  if (early === 0) return 0;

  const sorted: Node[] = [];
  const state = new Uint8Array(graph.nodes.length); // 0 new, 1 waits for its producers, 2 placed
  for (let root = 0; root < graph.nodes.length; root += 1) {
    const stack = [root];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const node = graph.nodes[top];
      if (node === undefined || state[top] === 2) {
        stack.pop();
        continue;
      }
      const waiting = (producers[top] ?? []).filter((index) => state[index] !== 2);
      if (waiting.length === 0) {
        state[top] = 2;
        sorted.push(node);
        stack.pop();
        continue;
      }
      if (state[top] === 1) {
        throw new CompressionError(
          'MODEL_INVALID',
          `${describeNode(node)} is part of a cycle; break it and export again`,
        );
      }
      state[top] = 1;
      stack.push(...waiting.reverse());
    }
  }
  graph.nodes = sorted;
  return early;
}

function* readsOf(node: Node): Generator<string> {
  yield* node.inputs;
  for (const subgraph of node.subgraphs()) yield* outerNames(subgraph);
}
