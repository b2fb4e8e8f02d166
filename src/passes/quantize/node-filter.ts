import { CompressionError } from '../../errors.ts';
import type { Node } from '../../onnx/node.ts';

/**
 * True when `text` matches `glob`: `*` stands for any run of characters, `?` for one. Linear in the text for each star:
 * no regular expression, so no input makes it slow.
 */
export function matchesGlob(glob: string, text: string): boolean {
  let g = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (g < glob.length && glob[g] === '*') {
      star = g;
      resume = t;
      g += 1;
    } else if (g < glob.length && (glob[g] === '?' || glob[g] === text[t])) {
      g += 1;
      t += 1;
    } else if (star >= 0) {
      g = star + 1;
      resume += 1;
      t = resume;
    } else return false;
  }
  while (glob[g] === '*') g += 1;
  return g === glob.length;
}

/** What globs see of a node: its name (its first output where it has none) and its operator type. */
export function nodeLabel(node: Node): string {
  return node.name === '' ? (node.outputs[0] ?? '') : node.name;
}

export interface NodeFilter {
  readonly include?: readonly string[] | undefined;
  readonly exclude: readonly string[];
}

/**
 * The nodes a filter keeps. `include` absent: all of them.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob matches no node: the caller surely meant one
 */
export function filterNodes(nodes: readonly Node[], filter: NodeFilter): ReadonlySet<Node> {
  const matches = (glob: string, node: Node): boolean =>
    matchesGlob(glob, nodeLabel(node)) || matchesGlob(glob, node.opType);
  for (const [option, globs] of Object.entries({ include: filter.include ?? [], exclude: filter.exclude })) {
    for (const glob of globs) {
      if (!nodes.some((node) => matches(glob, node))) throw noMatch(option, glob, nodes);
    }
  }
  return new Set(
    nodes.filter(
      (node) =>
        (filter.include === undefined || filter.include.some((glob) => matches(glob, node))) &&
        !filter.exclude.some((glob) => matches(glob, node)),
    ),
  );
}

function noMatch(option: string, glob: string, nodes: readonly Node[]): CompressionError {
  const types = [...new Set(nodes.map((node) => node.opType))].sort();
  const names = nodes.map(nodeLabel).filter((name) => name !== '');
  const shown = names.slice(0, 20);
  const more = names.length > shown.length ? ` and ${names.length - shown.length} more` : '';
  return new CompressionError(
    'RECIPE_NO_MATCH',
    `${option} "${glob}" matches no node; give a name or operator type of the model, with * and ? as wildcards. ` +
      `Operator types: ${types.join(', ')}. Names: ${shown.join(', ')}${more}`,
  );
}
