import { producersOf, usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { isLayer, type Branch } from './branches.ts';

/**
 * Joins the branches of a transformer's block, so that they go together: an attention and the branches that follow it up to the
 * next attention. Branches of networks without attention are blocks already. Changes nothing. O(nodes) for each branch.
 *
 * @param branches - of the model as it is, in graph order
 */
export function blocksOf({ graph }: Model, branches: readonly Branch[]): readonly Branch[] {
  const producers = producersOf(graph);
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const index = new Map(graph.nodes.map((node, at) => [node, at]));
  const blocks: Branch[] = [];
  for (const branch of branches) {
    const open = blocks.at(-1);
    if (open?.attends === true && !branch.attends && follows(open, branch))
      blocks[blocks.length - 1] = join(open, branch);
    else blocks.push(branch);
  }
  return blocks;

  /** Whether `next` goes on from the sum of `block`, over normalizations at most, and nobody behind it reads that sum. */
  function follows(block: Branch, next: Branch): boolean {
    const sum = block.sum.outputs[0] ?? '';
    const end = index.get(next.sum) ?? -1;
    const isRead = (uses.get(sum) ?? []).every(
      ({ node, inputIndex }) => inputIndex >= 0 && (index.get(node) ?? end + 1) <= end,
    );
    return isRead && !outputs.has(sum) && comesFrom(next.shortcut, sum, block.sum);
  }

  /** Whether `value` is computed from `source`, made by `sum`, by nothing but elementwise work on it and constants. */
  function comesFrom(value: string, source: string, sum: Node): boolean {
    const open = [value];
    const seen = new Set<string>(open);
    let found = false;
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (name === source) {
        found = true;
        continue;
      }
      if (graph.initializers.has(name)) continue;
      const node = producers.get(name);
      if (node === undefined || isLayer(node)) return false;
      if (node.opType !== 'Constant' && (index.get(node) ?? -1) <= (index.get(sum) ?? -1)) return false;
      for (const input of node.inputs) {
        if (input === '' || seen.has(input)) continue;
        seen.add(input);
        open.push(input);
      }
    }
    return found;
  }
}

function join(first: Branch, last: Branch): Branch {
  return { ...last, shortcut: first.shortcut, layers: [...first.layers, ...last.layers], attends: true };
}
