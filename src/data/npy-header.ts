import { CompressionError } from '../errors.ts';
import { byteLengthOf, type DataType } from '../onnx/data-type.ts';

export type NumericType = Exclude<DataType, 'string'>;

export interface NpyHeader {
  readonly type: NumericType;
  readonly shape: readonly number[];
  /** First index fastest in the file. False for arrays of rank 0 and 1, where it makes no difference. */
  readonly fortranOrder: boolean;
  readonly bigEndian: boolean;
  /** Bytes before the data. */
  readonly headerBytes: number;
  readonly dataBytes: number;
}

/** numpy itself stops at this length unless told otherwise (numpy.lib.format.read_array_header_1_0, max_header_size). */
export const NPY_MAX_HEADER_BYTES = 10_000;
/** Magic, version, and the longest length field. */
export const NPY_PREFIX_BYTES = 12;
const MAX_RANK = 32;

const TYPES: ReadonlyMap<string, NumericType> = new Map<string, NumericType>([
  ['b1', 'bool'],
  ['i1', 'int8'],
  ['u1', 'uint8'],
  ['i2', 'int16'],
  ['u2', 'uint16'],
  ['f2', 'float16'],
  ['i4', 'int32'],
  ['u4', 'uint32'],
  ['f4', 'float'],
  ['i8', 'int64'],
  ['u8', 'uint64'],
  ['f8', 'double'],
  ['c8', 'complex64'],
  ['c16', 'complex128'],
]);

export function isNpy(bytes: Uint8Array): boolean {
  return bytes.length >= 6 && Buffer.from(bytes.buffer, bytes.byteOffset, 6).toString('latin1') === '\x93NUMPY';
}

/**
 * Length of the whole header, from the first NPY_PREFIX_BYTES bytes (10 suffice for version 1).
 * @throws CompressionError DATASET_PARSE, DATASET_LIMIT above NPY_MAX_HEADER_BYTES
 */
export function npyHeaderLength(prefix: Uint8Array, where: string): number {
  if (!isNpy(prefix) || prefix.length < 10) {
    throw new CompressionError('DATASET_PARSE', `${where} is not a .npy array: it does not begin with \\x93NUMPY`);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const major = view.getUint8(6);
  if (major < 1 || major > 3) {
    throw new CompressionError('DATASET_PARSE', `${where}: .npy format version ${major}, expected 1, 2 or 3`);
  }
  const prefixBytes = major === 1 ? 10 : 12;
  if (prefix.length < prefixBytes)
    throw new CompressionError('DATASET_PARSE', `${where}: the .npy header is cut short`);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > NPY_MAX_HEADER_BYTES) {
    throw new CompressionError(
      'DATASET_LIMIT',
      `${where}: the .npy header says it is ${length} bytes long, at most ${NPY_MAX_HEADER_BYTES} are read`,
    );
  }
  return prefixBytes + length;
}

/**
 * Parses a complete .npy header (versions 1 to 3). The dictionary is read by a parser of exactly the literals numpy
 * writes; nothing is evaluated.
 * @throws CompressionError DATASET_PICKLE for object arrays, DATASET_PARSE for anything else that is not supported
 * @see numpy.lib.format, "Format Version 1.0" to "3.0"
 */
export function parseNpyHeader(bytes: Uint8Array, where: string): NpyHeader {
  const headerBytes = npyHeaderLength(bytes, where);
  if (bytes.length < headerBytes) throw new CompressionError('DATASET_PARSE', `${where}: the .npy header is cut short`);
  const start = bytes[6] === 1 ? 10 : 12;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, headerBytes - start).toString(
    bytes[6] === 3 ? 'utf8' : 'latin1',
  );
  const fields = new LiteralParser(text, where).dictionary();
  const { type, bigEndian } = elementType(fields.descr, where);
  const count = fields.shape.reduce((product, dim) => product * dim, 1);
  const dataBytes = byteLengthOf(type, count);
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(dataBytes)) {
    throw new CompressionError('DATASET_LIMIT', `${where}: shape (${fields.shape.join(', ')}) is beyond any memory`);
  }
  return {
    type,
    shape: fields.shape,
    fortranOrder: fields.fortranOrder && fields.shape.length > 1,
    bigEndian,
    headerBytes,
    dataBytes,
  };
}

function elementType(descr: string, where: string): { type: NumericType; bigEndian: boolean } {
  const [, order = '', kind = ''] = /^([<>=|]?)(.+)$/.exec(descr) ?? [];
  if (kind.startsWith('O')) {
    throw new CompressionError(
      'DATASET_PICKLE',
      `${where} holds Python objects (dtype ${descr}); pickles are never read: save it as an array of numbers`,
    );
  }
  const type = kind === '?' ? 'bool' : TYPES.get(kind);
  if (type === undefined) {
    const what = /^[SUa]/.test(kind) ? 'strings' : /^[mM]/.test(kind) ? 'dates' : 'a type that no model takes';
    throw new CompressionError(
      'DATASET_PARSE',
      `${where} has dtype ${descr}: ${what}; expected bool, int8 to int64, uint8 to uint64, float16 to float64, complex64 or complex128: leave it out or convert it`,
    );
  }
  return { type, bigEndian: order === '>' };
}

interface Fields {
  readonly descr: string;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
}

class LiteralParser {
  readonly #text: string;
  readonly #where: string;
  #at = 0;

  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
  }

  dictionary(): Fields {
    let descr: string | undefined;
    let fortranOrder: boolean | undefined;
    let shape: readonly number[] | undefined;
    this.#expect('{');
    while (!this.#accept('}')) {
      const key = this.#string();
      this.#expect(':');
      if (key === 'descr' && descr === undefined) descr = this.#descr();
      else if (key === 'fortran_order' && fortranOrder === undefined) fortranOrder = this.#boolean();
      else if (key === 'shape' && shape === undefined) shape = this.#tuple();
      else throw this.#error(`key '${key}' is unknown or stands twice`);
      if (!this.#accept(',')) {
        this.#expect('}');
        break;
      }
    }
    this.#space();
    if (this.#at < this.#text.length) throw this.#error('text after the dictionary');
    if (descr === undefined || fortranOrder === undefined || shape === undefined) {
      throw this.#error("needs 'descr', 'fortran_order' and 'shape'");
    }
    return { descr, fortranOrder, shape };
  }

  #descr(): string {
    this.#space();
    if (this.#text[this.#at] !== '[') return this.#string();
    const isObject = /'[|<>=]?O\d*'/.test(this.#text);
    throw new CompressionError(
      isObject ? 'DATASET_PICKLE' : 'DATASET_PARSE',
      `${this.#where} is a structured array; save each field as an array of its own`,
    );
  }

  #tuple(): readonly number[] {
    const dims: number[] = [];
    this.#expect('(');
    while (!this.#accept(')')) {
      dims.push(this.#integer());
      if (dims.length > MAX_RANK) throw this.#error(`more than ${MAX_RANK} dimensions`);
      if (!this.#accept(',')) {
        this.#expect(')');
        break;
      }
    }
    return dims;
  }

  #integer(): number {
    // Python 2 wrote long integers with an L.
    const digits = this.#match(/\d{1,16}(?=L?\s*[,)])L?/y, 'a dimension');
    const value = Number.parseInt(digits, 10);
    if (!Number.isSafeInteger(value)) throw this.#error(`dimension ${digits} is beyond any memory`);
    return value;
  }

  #boolean(): boolean {
    return this.#match(/True|False/y, 'True or False') === 'True';
  }

  #string(): string {
    return this.#match(/'[^'\\]*'|"[^"\\]*"/y, 'a string').slice(1, -1);
  }

  #match(pattern: RegExp, what: string): string {
    this.#space();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) throw this.#error(`expected ${what}`);
    this.#at = pattern.lastIndex;
    return found[0];
  }

  #accept(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #expect(character: string): void {
    if (!this.#accept(character)) throw this.#error(`expected '${character}'`);
  }

  #space(): void {
    while (' \n\t\r'.includes(this.#text[this.#at] ?? 'end')) this.#at += 1;
  }

  #error(problem: string): CompressionError {
    const near = JSON.stringify(this.#text.slice(this.#at, this.#at + 24));
    return new CompressionError(
      'DATASET_PARSE',
      `${this.#where}: the .npy header is not what numpy writes: ${problem} at character ${this.#at}, got ${near}`,
    );
  }
}
