import type { Node } from '../node.ts';

const MAX_QUOTED = 80;

/**
 * A name from a model for a message: in quotes, control and bidirectional characters escaped, at most 80 characters.
 * Names are the uploader's; they must not break a log line, a terminal or a page.
 */
export function quoteName(name: string): string {
  const cut = name.length > MAX_QUOTED ? `${name.slice(0, MAX_QUOTED)}…` : name;
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  const escaped = cut.replace(/[\u0000-\u001f"\\\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, (character) =>
    character === '"' || character === '\\'
      ? `\\${character}`
      : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `"${escaped}"`;
}

/** `Conv "conv1"`, or by the first output when the node has no name; safe for messages. */
export function quoteNode(node: Node): string {
  const operator = quoteName(node.domain === '' ? node.opType : `${node.domain}:${node.opType}`).slice(1, -1);
  return node.name === ''
    ? `${operator} (output ${quoteName(node.outputs[0] ?? '')})`
    : `${operator} ${quoteName(node.name)}`;
}
