import { defined } from '../../../errors.ts';
import { usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode } from '../../../onnx/node.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { removeDeadCode } from '../../canonicalize/dead-code.ts';
import type { Branch } from './branches.ts';

/**
 * Takes the sum's shortcut in place of its output, and with it every node and weight that nothing else reads. A graph output
 * keeps its name, through an Identity.
 *
 * @param branch - of this model, with no nested graph that reads its output
 * @returns how many nodes and initializers went
 */
export function removeBranch(model: Model, { sum, shortcut }: Branch): number {
  const { graph } = model;
  const output = sum.outputs[0] ?? '';
  for (const { node, inputIndex } of usesOf(graph).get(output) ?? []) node.inputs[inputIndex] = shortcut;
  const at = graph.nodes.indexOf(sum);
  if (graph.outputs.some(({ name }) => name === output)) {
    graph.nodes[at] = makeNode('Identity', [shortcut], [output], { name: sum.name });
  } else {
    graph.nodes.splice(at, 1);
    graph.valueInfos.delete(output);
  }
  return removeDeadCode({ graph, outer: undefined });
}

/** A copy of the model without the branch. */
export function withoutBranch(model: Model, branch: Branch): Model {
  const without = copyModel(model);
  const at = model.graph.nodes.indexOf(branch.sum);
  removeBranch(without, { ...branch, sum: defined(without.graph.nodes[at], 'the sum of the branch') });
  return without;
}
