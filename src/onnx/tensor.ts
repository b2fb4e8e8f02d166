import { byteLengthOf, type DataType } from './data-type.ts';
import { allocate, elementCount, type NdArray, type NumericArray } from './nd-array.ts';
import type { StringEntries, UnknownFields } from './unknown-fields.ts';

/** Where the bytes of an external tensor lie. `read` returns exactly `length` bytes or throws MODEL_EXTERNAL_DATA. */
export interface ExternalFile {
  readonly location: string;
  /** Size of the whole file. */
  readonly byteLength: number;
  read(offset: number, length: number): Uint8Array;
  /**
   * Fills `target`, whose memory the caller may use again: with what lies at `offset`, or with pieces of `piece.length` bytes
   * whose starts lie `piece.stride` bytes apart. Throws as `read` does.
   */
  readInto(target: Uint8Array, offset: number, piece?: { readonly length: number; readonly stride: number }): void;
}

/** Little-endian bytes as in `raw_data`; strings as their UTF-8 bytes; or a range of an external file, read on demand. */
export type TensorStorage =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'strings'; readonly values: readonly Uint8Array[] }
  | { readonly kind: 'external'; readonly file: ExternalFile; readonly offset: number; readonly byteLength: number };

/**
 * An ONNX tensor with a name (initializer, attribute value). Immutable: a changed tensor is a new object, so bytes stay
 * views into the file until somebody replaces them.
 */
export class Tensor {
  readonly name: string;
  readonly dataType: DataType;
  readonly dims: readonly number[];
  readonly storage: TensorStorage;
  readonly docString: string;
  readonly metadata: StringEntries;
  readonly unknownFields: UnknownFields;

  constructor(fields: {
    name: string;
    dataType: DataType;
    dims: readonly number[];
    storage: TensorStorage;
    docString?: string;
    metadata?: StringEntries;
    unknownFields?: UnknownFields;
  }) {
    this.name = fields.name;
    this.dataType = fields.dataType;
    this.dims = fields.dims;
    this.storage = fields.storage;
    this.docString = fields.docString ?? '';
    this.metadata = fields.metadata ?? [];
    this.unknownFields = fields.unknownFields ?? [];
  }

  /** A tensor that views (does not copy) the array's memory. */
  static fromArray(name: string, array: NdArray): Tensor {
    const storage: TensorStorage =
      array.type === 'string'
        ? { kind: 'strings', values: array.data.map((text) => new TextEncoder().encode(text)) }
        : { kind: 'bytes', bytes: new Uint8Array(array.data.buffer, array.data.byteOffset, array.data.byteLength) };
    return new Tensor({ name, dataType: array.type, dims: array.dims, storage });
  }

  /** A float tensor; `dims` defaults to one axis. */
  static float(name: string, values: ArrayLike<number>, dims: readonly number[] = [values.length]): Tensor {
    return Tensor.fromArray(name, { type: 'float', dims, data: Float32Array.from(values) });
  }

  /** An int64 tensor; `dims` defaults to one axis, pass `[]` for a scalar. */
  static int64(name: string, values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
    return Tensor.fromArray(name, { type: 'int64', dims, data: BigInt64Array.from(values, BigInt) });
  }

  get elementCount(): number {
    return elementCount(this.dims);
  }

  /** Bytes of the data as stored (strings: their UTF-8 lengths). */
  get byteLength(): number {
    switch (this.storage.kind) {
      case 'bytes':
        return this.storage.bytes.byteLength;
      case 'external':
        return this.storage.byteLength;
      case 'strings':
        return this.storage.values.reduce((sum, value) => sum + value.byteLength, 0);
    }
  }

  /** The little-endian bytes; a view where they are in memory, read from the file where they are external. */
  bytes(): Uint8Array {
    switch (this.storage.kind) {
      case 'bytes':
        return this.storage.bytes;
      case 'external':
        return this.storage.file.read(this.storage.offset, this.storage.byteLength);
      case 'strings':
        throw new TypeError(`tensor "${this.name}" holds strings; it has no raw bytes`);
    }
  }

  /** The values as a typed array: a view when the bytes are aligned for it, a copy otherwise. Do not write into it. */
  toArray(): NdArray {
    if (this.dataType === 'string') {
      const values = this.storage.kind === 'strings' ? this.storage.values : [];
      const decoder = new TextDecoder();
      return { type: 'string', dims: this.dims, data: values.map((value) => decoder.decode(value)) };
    }
    return { type: this.dataType, dims: this.dims, data: viewAs(this.dataType, this.elementCount, this.bytes()) };
  }

  /** The values of a float tensor. @throws TypeError for any other element type */
  floats(): Float32Array {
    const { data } = this.toArray();
    if (this.dataType !== 'float' || !(data instanceof Float32Array)) {
      throw new TypeError(`tensor "${this.name}" is ${this.dataType}, not float`);
    }
    return data;
  }

  /** The values of an integer tensor as numbers. @throws TypeError for a non-integer type; RangeError past 2^53 */
  integers(): number[] {
    const { data, type } = this.toArray();
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
      return Array.from(data, (value) => toSafeInteger(value, `tensor "${this.name}"`));
    }
    if (!/^(u?int(8|16|32)|bool)$/.test(type))
      throw new TypeError(`tensor "${this.name}" is ${type}, not an integer type`);
    return Array.from(data as ArrayLike<number>);
  }

  #with(changed: { name?: string; dims?: readonly number[] }): Tensor {
    return new Tensor({
      name: changed.name ?? this.name,
      dataType: this.dataType,
      dims: changed.dims ?? this.dims,
      storage: this.storage,
      docString: this.docString,
      metadata: this.metadata,
      unknownFields: this.unknownFields,
    });
  }

  /** The same data under another name; shares the bytes. */
  renamed(name: string): Tensor {
    return this.#with({ name });
  }

  /** The same data with other dimensions (equal element count); shares the bytes. */
  reshaped(dims: readonly number[]): Tensor {
    if (elementCount(dims) !== this.elementCount) {
      throw new RangeError(`tensor "${this.name}" [${this.dims.join(', ')}] cannot become [${dims.join(', ')}]`);
    }
    return this.#with({ dims });
  }
}

/** int64 enters as bigint; this is the one way to a number. @throws RangeError past 2^53 */
export function toSafeInteger(value: bigint, where: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new RangeError(`${where}: ${value} is beyond the safe integer range`);
  return number;
}

/** A typed array over little-endian bytes: a view when aligned, else a copy. @throws RangeError when bytes are missing */
export function viewAs(type: Exclude<DataType, 'string'>, count: number, bytes: Uint8Array): NumericArray {
  const needed = byteLengthOf(type, count);
  if (bytes.byteLength < needed)
    throw new RangeError(`${type} x ${count} needs ${needed} bytes, got ${bytes.byteLength}`);
  const empty = allocate(type, 0);
  const width = empty.BYTES_PER_ELEMENT;
  // Not bytes.slice(): on a Buffer that is a view at the same odd offset, not a copy.
  const aligned = bytes.byteOffset % width === 0 ? bytes : Uint8Array.prototype.slice.call(bytes, 0, needed);
  const make = empty.constructor as new (buffer: ArrayBufferLike, byteOffset: number, length: number) => NumericArray;
  return new make(aligned.buffer, aligned.byteOffset, needed / width);
}
