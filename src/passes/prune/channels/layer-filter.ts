import { CompressionError } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { matchesGlob } from '../../../training/glob.ts';

export interface LayerFilter {
  readonly include?: readonly string[] | undefined;
  readonly exclude: readonly string[];
}

/** Layers that make channels from a weight. */
const MAKES_CHANNELS = /^(Conv|ConvTranspose|Gemm|MatMul|Adder2D|Gather|Einsum)$/;

/**
 * Nodes whose output channels all stay, with the reason: what `exclude` names, and every layer that `include` does not.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob matches no node: the caller surely meant one
 */
export function nodesThatStay({ graph }: Model, { include, exclude }: LayerFilter): Map<Node, string> {
  const matches = (glob: string, node: Node): boolean =>
    matchesGlob(glob, labelOf(node)) || matchesGlob(glob, node.opType);
  for (const [option, globs] of Object.entries({ include: include ?? [], exclude })) {
    for (const glob of globs) {
      if (!graph.nodes.some((node) => matches(glob, node))) throw noMatch(option, glob, graph.nodes);
    }
  }
  const staying = new Map<Node, string>();
  for (const node of graph.nodes) {
    if (exclude.some((glob) => matches(glob, node))) staying.set(node, 'it is excluded');
    else if (include !== undefined && MAKES_CHANNELS.test(node.opType) && !include.some((glob) => matches(glob, node)))
      staying.set(node, 'it is not included');
  }
  return staying;
}

/** A node's name, or its first output where it has none. */
export function labelOf(node: Node): string {
  return node.name === '' ? (node.outputs[0] ?? '') : node.name;
}

const MAX_SHOWN = 20;

/** @param names - of the groups of channels there are without the filter */
export function nothingLeft({ graph }: Model, names: readonly string[]): CompressionError {
  const more = names.length > MAX_SHOWN ? ` and ${names.length - MAX_SHOWN} more` : '';
  return new CompressionError(
    'RECIPE_NO_MATCH',
    `prune.channels: include and exclude leave no channels to remove; without them ${names.length} groups of the ${graph.nodes.length} nodes can lose some. ` +
      `Include or leave in one of: ${names.slice(0, MAX_SHOWN).join(', ')}${more}`,
  );
}

function noMatch(option: string, glob: string, nodes: readonly Node[]): CompressionError {
  const types = [...new Set(nodes.map((node) => node.opType))].sort();
  const layers = nodes.filter((node) => MAKES_CHANNELS.test(node.opType)).map(labelOf);
  const more = layers.length > MAX_SHOWN ? ` and ${layers.length - MAX_SHOWN} more` : '';
  return new CompressionError(
    'RECIPE_NO_MATCH',
    `${option} "${glob}" matches no node; give a name or operator type of the model, with * and ? as wildcards. ` +
      `Operator types: ${types.join(', ')}. Layers: ${layers.slice(0, MAX_SHOWN).join(', ')}${more}`,
  );
}
