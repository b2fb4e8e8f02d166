import type { StringStringEntryProto } from 'onnx-buf';
import { CompressionError } from '../../errors.ts';

export interface ExternalReference {
  readonly location: string;
  readonly offset: number;
  /** Undefined when the file does not say: then the tensor's own size counts. */
  readonly length: number | undefined;
}

const KEYS: ReadonlySet<string> = new Set(['location', 'offset', 'length', 'checksum']);

/**
 * Reads the `external_data` entries of a tensor. No file is touched.
 *
 * @throws CompressionError MODEL_EXTERNAL_DATA for a key that is not location, offset, length or checksum, a location
 *   that could leave the model's folder, or numbers that are no byte positions
 */
export function parseExternalData(entries: readonly StringStringEntryProto[], where: string): ExternalReference {
  const values = new Map<string, string>();
  for (const { key, value } of entries) {
    if (!KEYS.has(key))
      throw refused(where, `external_data key ${quote(key)} is unknown; allowed: ${[...KEYS].join(', ')}`);
    if (values.has(key)) throw refused(where, `external_data key ${quote(key)} occurs twice`);
    values.set(key, value);
  }
  const location = values.get('location') ?? '';
  const problem = locationProblem(location);
  if (problem !== undefined) throw refused(where, `external data location ${quote(location)} ${problem}`);
  return {
    location,
    offset: position(values.get('offset'), 'offset', where) ?? 0,
    length: position(values.get('length'), 'length', where),
  };
}

/** Why a location is not a plain path below the model's folder; undefined when it is one. */
export function locationProblem(location: string): string | undefined {
  if (location === '') return 'is empty';
  if (location.length > 1024) return 'is longer than 1024 characters';
  if (location.includes('_ORT_MEM_ADDR_')) return "is ONNX Runtime's mark for memory addresses";
  // eslint-disable-next-line no-control-regex -- control characters are what this looks for
  if (/[\u0000-\u001f\u007f]/.test(location)) return 'has control characters';
  if (location.includes('\\')) return 'has a backslash; use /';
  if (location.startsWith('/') || /^[A-Za-z]:/.test(location)) return 'is absolute; it must be relative to the model';
  const parts = location.split('/');
  if (parts.includes('..')) return 'has a ".." part; it must stay in the model\'s folder';
  if (parts.some((part, index) => part === '' || (part === '.' && (index > 0 || parts.length === 1)))) {
    return 'has an empty or "." part';
  }
  return undefined;
}

function position(text: string | undefined, key: string, where: string): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value))
    throw refused(where, `external_data ${key} ${quote(text)} is not a number of bytes`);
  return value;
}

function refused(where: string, detail: string): CompressionError {
  return new CompressionError('MODEL_EXTERNAL_DATA', `${where}: ${detail}`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
