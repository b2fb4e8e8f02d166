/** Collects output up to a limit; past it, everything is dropped and the end says so. */
export class BoundedText {
  readonly #limit: number;
  readonly #parts: string[] = [];
  #length = 0;
  #full = false;

  constructor(limitCharacters: number) {
    this.#limit = limitCharacters;
  }

  get full(): boolean {
    return this.#full;
  }

  add(text: string): void {
    if (this.#full) return;
    this.#length += text.length;
    if (this.#length > this.#limit) this.#full = true;
    else this.#parts.push(text);
  }

  toString(): string {
    return (
      this.#parts.join('') + (this.#full ? `\n# cut off: the text is longer than ${this.#limit} characters\n` : '')
    );
  }
}

/** Longest name or string that is printed whole. */
const MAX_STRING = 500;

/** A name as the syntax has it: bare when it is an identifier, else quoted. */
export function quoteName(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]{0,499}$/.test(name) ? name : quoteString(name);
}

/**
 * A quoted string. Quotes and backslashes are escaped as the ONNX parser reads them; control characters, which would
 * reach a terminal or break the line, as `\n`, `\t` or `\xNN`; long ones are shortened with their length.
 */
export function quoteString(text: string): string {
  const shown = text.length > MAX_STRING ? `${text.slice(0, MAX_STRING)}… ${text.length} characters` : text;
  // eslint-disable-next-line no-control-regex -- control characters are what this looks for
  const escaped = shown.replace(/["\\\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (char) => {
    if (char === '\n') return '\\n';
    if (char === '\t') return '\\t';
    if (char === '"' || char === '\\') return `\\${char}`;
    const code = char.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
  return `"${escaped}"`;
}

/** Bytes of a string attribute or tensor; bytes that are no UTF-8 show as U+FFFD. */
export function quoteBytes(bytes: Uint8Array): string {
  const start = bytes.byteLength > 4 * MAX_STRING ? bytes.subarray(0, 4 * MAX_STRING) : bytes;
  return quoteString(new TextDecoder('utf-8', { ignoreBOM: true }).decode(start));
}

/** The shortest decimal that reads back as the same float32: 0.1, not 0.10000000149011612. */
export function float32Text(value: number): string {
  if (!Number.isFinite(value)) return nonFiniteText(value);
  if (Object.is(value, -0)) return '-0';
  for (let digits = 1; digits < 9; digits += 1) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return String(candidate);
  }
  return String(Number(value.toPrecision(9)));
}

export function float64Text(value: number): string {
  if (!Number.isFinite(value)) return nonFiniteText(value);
  return Object.is(value, -0) ? '-0' : String(value);
}

function nonFiniteText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  return value > 0 ? 'inf' : '-inf';
}
