/**
 * Markup that is safe to put into a page: either written by us (`html` templates) or escaped. A plain string is never
 * markup, so a name with `<script>` in it cannot become one by accident.
 */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Content = Markup | string | number | undefined | readonly Content[];

/** Longest run of a foreign string that is shown; a name may be a megabyte long. */
const MAX_TEXT = 300;

/** Template tag: markup from the literal parts, everything inserted escaped unless it is markup itself. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Markup {
  let text = parts[0] ?? '';
  for (const [index, value] of values.entries()) text += render(value) + (parts[index + 1] ?? '');
  return new Markup(text);
}

function render(value: Content): string {
  if (value === undefined) return '';
  if (value instanceof Markup) return value.text;
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return escapeText(value);
  return value.map(render).join('');
}

/** Cuts long text in the middle, so that the end of a long name (where names differ) stays visible. */
export function shorten(text: string, limit = MAX_TEXT): string {
  if (text.length <= limit) return text;
  const half = Math.floor(limit / 2);
  return `${text.slice(0, half)} … ${text.slice(-half)} (${text.length} characters)`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for element content and quoted attributes: shortened, control and direction characters made visible, entities. */
export function escapeText(text: string): string {
  return escapeWhole(shorten(text));
}

/** The same for text of our own making that is long on purpose; the line breaks of `preformatted` text stay. */
export function preformatted(text: string): Markup {
  return new Markup(text.split('\n').map(escapeWhole).join('\n'));
}

function escapeWhole(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, visible)
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

/** Control characters (terminal escapes, newlines), direction overrides and half surrogate pairs, as their code. */
function visible(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
