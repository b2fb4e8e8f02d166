import type { Node } from '../node.ts';

const MAX_QUOTED = 80;

/**
 * A name from a model for a message: in quotes, control, format and bidirectional characters escaped, at most 80 characters.
 * Names are the uploader's; they must not break a log line, a terminal or a page.
 */
export function quoteName(name: string): string {
  const cut = name.length > MAX_QUOTED ? `${name.slice(0, MAX_QUOTED)}…` : name;
  const escaped = cut.replace(/["\\\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
    character === '"' || character === '\\' ? `\\${character}` : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
  return `"${escaped}"`;
}

const MAX_TEXT = 500;

/** A message that may hold symbols or lists from a model: control and format characters escaped, at most 500 characters. */
export function safeText(text: string): string {
  const cut = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  return cut.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** `Conv "conv1"`, or by the first output when the node has no name; safe for messages. */
export function quoteNode(node: Node): string {
  const operator = quoteName(node.domain === '' ? node.opType : `${node.domain}:${node.opType}`).slice(1, -1);
  return node.name === ''
    ? `${operator} (output ${quoteName(node.outputs[0] ?? '')})`
    : `${operator} ${quoteName(node.name)}`;
}
