import { CompressionError } from '../errors.ts';

const MAX_NAME_LENGTH = 1024;
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * The names of an archive's entries, refused as soon as one of them is unsafe (absolute, `..`, control characters) or
 * clashes with another, be it only in case. No name is ever used as a path; an archive that tries is not to be trusted.
 */
export class EntryNames {
  readonly #seen = new Map<string, string>();

  /** @throws CompressionError DATASET_PARSE */
  add(name: string): void {
    const quoted = JSON.stringify(name.slice(0, 200));
    const problem = unsafe(name);
    if (problem !== undefined) {
      throw new CompressionError('DATASET_PARSE', `Archive entry ${quoted} ${problem}; pack plain relative names`);
    }
    const key = name
      .replace(/^(\.\/)+/, '')
      .replace(/\/$/, '')
      .normalize('NFC')
      .toLowerCase();
    const other = this.#seen.get(key);
    if (other !== undefined) {
      throw new CompressionError(
        'DATASET_PARSE',
        other === name
          ? `Archive entry ${quoted} stands twice in the archive`
          : `Archive entries ${quoted} and ${JSON.stringify(other.slice(0, 200))} differ only in case or spelling`,
      );
    }
    this.#seen.set(key, name);
  }
}

function unsafe(name: string): string | undefined {
  if (name === '') return 'has no name';
  if (name.length > MAX_NAME_LENGTH)
    return `has a name of ${name.length} characters, at most ${MAX_NAME_LENGTH} are read`;
  if (CONTROL.test(name)) return 'has control characters in its name';
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) return 'has an absolute name';
  if (name.includes('\\')) return 'has a backslash in its name';
  if (name.split('/').includes('..')) return 'points outside the archive';
  return undefined;
}
