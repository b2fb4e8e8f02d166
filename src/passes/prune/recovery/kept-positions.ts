import type { Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';

/**
 * Positions that stay, in order, by axis of a value of the model before removal; undefined for an axis that stays whole. A value
 * that loses nothing, or is not known, has no entries.
 */
export type KeptPositions = (value: string) => readonly (readonly number[] | undefined)[];

/** @param removed - by root atom: 1 where the channel goes */
export function keptPositions({ axes, atoms }: ChannelAnalysis, removed: Uint8Array): KeptPositions {
  const known = new Map<Int32Array, readonly number[] | undefined>();
  const keptOf = (positions: Int32Array): readonly number[] | undefined => {
    if (known.has(positions)) return known.get(positions);
    const kept = [...positions.keys()].filter((at) => removed[atoms.root(positions[at] ?? 0)] !== 1);
    const result = kept.length === positions.length ? undefined : kept;
    known.set(positions, result);
    return result;
  };
  return (value) => (axes.get(value) ?? []).map((axis) => (axis.kind === 'channels' ? keptOf(axis.atoms) : undefined));
}

/**
 * The values that differ from the original's, beyond the positions they lost: what a sum over lost channels goes into. Channels
 * behind depthwise convolutions, activations and additions of untouched channels are not among them.
 */
export function affectedValues({ graph }: Model, kept: KeptPositions): ReadonlySet<string> {
  const affected = new Set<string>();
  for (const node of graph.nodes) {
    if (!losesInputs(node, graph, kept) && !node.inputs.some((input) => affected.has(input))) continue;
    for (const output of node.outputs) if (output !== '') affected.add(output);
  }
  return affected;
}

/** True when the node, one of the model before removal, sums over an axis that loses positions. */
export function losesInputs(node: Node, { initializers }: Graph, kept: KeptPositions): boolean {
  const [input = '', weight = ''] = node.inputs;
  const axes = kept(input);
  switch (node.opType) {
    case 'Conv':
    case 'Adder2D':
      // A depthwise weight has one column, which stays: its rows go with the channels.
      return kept(weight)[1] !== undefined;
    case 'ConvTranspose':
      return axes[1] !== undefined && initializers.get(weight)?.dims[0] !== node.int('group', 1);
    case 'Gemm':
      return axes[node.int('transA', 0) === 0 ? 1 : 0] !== undefined;
    case 'MatMul':
      return axes.at(-1) !== undefined;
    case 'Einsum':
      return node.inputs.some((name) => kept(name).some((positions) => positions !== undefined));
    default:
      return false;
  }
}
