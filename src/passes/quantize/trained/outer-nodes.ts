import type { Node } from '../../../onnx/node.ts';

interface Step {
  readonly node: Node;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/**
 * Those of `among` that depend on no other of them, or on which no other depends: the first and the last ones. O(nodes).
 *
 * @param nodes - of one graph, each behind those it reads
 */
export function outerNodes(nodes: readonly Node[], among: ReadonlySet<Node>): ReadonlySet<Node> {
  const behind = reached(
    nodes.map((node) => ({ node, inputs: node.inputs, outputs: node.outputs })),
    among,
  );
  const ahead = reached(
    nodes.toReversed().map((node) => ({ node, inputs: node.outputs, outputs: node.inputs })),
    among,
  );
  return new Set([...among].filter((node) => !behind.has(node) || !ahead.has(node)));
}

/** The nodes that depend on one of `from`. */
function reached(steps: readonly Step[], from: ReadonlySet<Node>): ReadonlySet<Node> {
  const values = new Set<string>();
  const nodes = new Set<Node>();
  for (const { node, inputs, outputs } of steps) {
    const depends = inputs.some((input) => values.has(input));
    if (depends) nodes.add(node);
    if (depends || from.has(node)) for (const output of outputs) if (output !== '') values.add(output);
  }
  return nodes;
}
