import { crc32 } from 'node:zlib';
import { CompressionError } from '../errors.ts';
import { DATA_TYPES } from '../onnx/data-type.ts';
import { allocate, type NdArray, type NumericArray } from '../onnx/nd-array.ts';
import type { ByteReader } from './byte-reader.ts';
import type { NpyHeader } from './npy-header.ts';

/** Bytes of an array in a file or an archive: by position where that is possible, else from the front. */
export interface NpyBytes {
  /** Fills `target` from `position` of the array's data. Undefined when the bytes can only be streamed. */
  readonly readAt: ((target: Uint8Array, position: number) => Promise<void>) | undefined;
  /** A reader that stands at the first byte of the data. */
  open(): Promise<ByteReader>;
  /** Called with a reader that has read the last byte; checks what the container promises. */
  finish(reader: ByteReader): Promise<void>;
  /** For readers by position that saw every byte: the CRC-32 of what precedes the data, and the check at the end. */
  readonly checksum: { readonly before: number; check(crc: number): void } | undefined;
}

/** Bytes that may be kept between passes; shared by all arrays of a data set. */
export class MemoryBudget {
  #free: number;
  constructor(bytes: number) {
    this.#free = bytes;
  }
  reserve(bytes: number): boolean {
    if (bytes > this.#free) return false;
    this.#free -= bytes;
    return true;
  }
  release(bytes: number): void {
    this.#free += bytes;
  }
}

export interface RowCursor {
  /** The next `count` rows; the caller never asks for more than there are. The array is valid and unchanged for good. */
  next(count: number): Promise<NdArray>;
  close(): Promise<void>;
}

interface Held {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  readonly rows: Promise<NumericArray>;
}

/**
 * One .npy array, read by rows (index 0 of the first axis is row 0), in row-major order and the machine's byte order
 * whatever the file has. Compressed rows are kept between passes when the budget allows; otherwise each pass streams.
 */
export class NpyArray {
  readonly name: string;
  readonly header: NpyHeader;
  readonly rows: number;
  readonly rowBytes: number;
  readonly #bytes: NpyBytes;
  readonly #budget: MemoryBudget;
  #held: Held | undefined;

  constructor(name: string, header: NpyHeader, bytes: NpyBytes, budget: MemoryBudget) {
    this.name = name;
    this.header = header;
    this.rows = header.shape[0] ?? 0;
    this.rowBytes = this.rows === 0 ? 0 : header.dataBytes / this.rows;
    this.#bytes = bytes;
    this.#budget = budget;
  }

  /** Whether rows in the middle can be read without what is before them. */
  get byPosition(): boolean {
    return this.#bytes.readAt !== undefined && !this.header.fortranOrder;
  }

  /** Rows [from, to), in order. */
  async cursor(from: number, to: number): Promise<RowCursor> {
    if (this.#bytes.readAt !== undefined && !this.header.fortranOrder)
      return this.#positionCursor(this.#bytes.readAt, from);
    const held = this.#hold(from, to);
    if (held !== undefined) return this.#heldCursor(held, from);
    if (!this.header.fortranOrder) return this.#streamCursor(from);
    if (this.#bytes.readAt !== undefined) return this.#gatherCursor(this.#bytes.readAt, from);
    throw new CompressionError(
      'DATASET_LIMIT',
      `Array ${this.name} is compressed, in Fortran order, and too large to be turned in memory (${this.header.dataBytes} bytes); save it with numpy.ascontiguousarray`,
    );
  }

  #view(data: NumericArray, count: number): NdArray {
    return { type: this.header.type, dims: [count, ...this.header.shape.slice(1)], data };
  }

  #allocateRows(count: number): NumericArray {
    return allocate(this.header.type, count * (this.rows === 0 ? 0 : elements(this.header.shape.slice(1))));
  }

  /** The rows in memory, if the budget has room for them. A window that does not cover the request is let go first. */
  #hold(from: number, to: number): Held | undefined {
    const held = this.#held;
    if (held !== undefined && held.from <= from && to <= held.to) return held;
    const whole = this.header.fortranOrder;
    const [first, last] = whole ? [0, this.rows] : [from, to];
    const bytes = (last - first) * this.rowBytes;
    if (held !== undefined) {
      this.#budget.release(held.bytes);
      this.#held = undefined;
    }
    // Turning a Fortran array needs it a second time while it is turned.
    const needed = whole ? bytes * 2 : bytes;
    if (!this.#budget.reserve(needed)) return undefined;
    if (whole) this.#budget.release(bytes);
    const rows = whole ? this.#readFortran() : this.#readRows(first, last);
    const made: Held = { from: first, to: last, bytes, rows };
    this.#held = made;
    // A failed read must not be remembered: the next pass tries again (and reports the error itself).
    rows.catch(() => {
      if (this.#held === made) {
        this.#budget.release(bytes);
        this.#held = undefined;
      }
    });
    return made;
  }

  async #readRows(from: number, to: number): Promise<NumericArray> {
    const cursor = await this.#streamCursor(from);
    try {
      const { data } = await cursor.next(to - from);
      return data as NumericArray; // #view makes numeric arrays only
    } finally {
      await cursor.close();
    }
  }

  async #readFortran(): Promise<NumericArray> {
    const raw = this.#allocateRows(this.rows);
    const reader = await this.#bytes.open();
    try {
      await this.#fill(reader, bytesOf(raw));
      await this.#bytes.finish(reader);
    } finally {
      await reader.close();
    }
    normalize(raw, this.header);
    return fromFortran(raw, this.header);
  }

  #heldCursor(held: Held, from: number): RowCursor {
    let row = from - held.from;
    return {
      next: async (count) => {
        const data = await held.rows;
        const perRow = data.length / (held.to - held.from);
        const part = data.subarray(row * perRow, (row + count) * perRow);
        row += count;
        return this.#view(part, count);
      },
      close: () => Promise.resolve(),
    };
  }

  #positionCursor(readAt: NonNullable<NpyBytes['readAt']>, from: number): RowCursor {
    const checksum = from === 0 ? this.#bytes.checksum : undefined;
    let crc = checksum?.before ?? 0;
    let row = from;
    return {
      next: async (count) => {
        const data = this.#allocateRows(count);
        const bytes = bytesOf(data);
        await readAt(bytes, row * this.rowBytes);
        row += count;
        if (checksum !== undefined) {
          crc = crc32(bytes, crc);
          if (row === this.rows) checksum.check(crc);
        }
        normalize(data, this.header);
        return this.#view(data, count);
      },
      close: () => Promise.resolve(),
    };
  }

  async #streamCursor(from: number): Promise<RowCursor> {
    const reader = await this.#bytes.open();
    let row = 0;
    return {
      next: async (count) => {
        if (row < from) {
          const bytes = (from - row) * this.rowBytes;
          if ((await reader.skip(bytes)) < bytes) throw this.#cutShort();
          row = from;
        }
        const data = this.#allocateRows(count);
        await this.#fill(reader, bytesOf(data));
        row += count;
        if (row === this.rows) await this.#bytes.finish(reader);
        normalize(data, this.header);
        return this.#view(data, count);
      },
      close: () => reader.close(),
    };
  }

  /** Fortran order by position: each of the row's elements is a column of its own in the file. */
  #gatherCursor(readAt: NonNullable<NpyBytes['readAt']>, from: number): RowCursor {
    let row = from;
    const columnShape = this.header.shape.slice(1);
    const columns = elements(columnShape);
    const itemBytes = this.rowBytes / columns;
    return {
      next: async (count) => {
        const raw = this.#allocateRows(count);
        const bytes = bytesOf(raw);
        for (let column = 0; column < columns; column += 1) {
          const at = column * count * itemBytes;
          await readAt(bytes.subarray(at, at + count * itemBytes), (column * this.rows + row) * itemBytes);
        }
        row += count;
        normalize(raw, this.header);
        return this.#view(fromFortran(raw, { ...this.header, shape: [count, ...columnShape] }), count);
      },
      close: () => Promise.resolve(),
    };
  }

  async #fill(reader: ByteReader, target: Uint8Array): Promise<void> {
    if ((await reader.readInto(target)) < target.length) throw this.#cutShort();
  }

  #cutShort(): CompressionError {
    return new CompressionError(
      'DATASET_PARSE',
      `Array ${this.name} is cut short: shape (${this.header.shape.join(', ')}) needs ${this.header.dataBytes} bytes; upload it again`,
    );
  }
}

function elements(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}

export function bytesOf(data: NumericArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Swaps big-endian elements in place (each half of a complex one), and makes every true a 1. */
function normalize(data: NumericArray, header: NpyHeader): void {
  const complex = header.type === 'complex64' || header.type === 'complex128';
  const itemBits = DATA_TYPES[header.type].bits / (complex ? 2 : 1);
  if (header.bigEndian) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    if (itemBits === 16) bytes.swap16();
    else if (itemBits === 32) bytes.swap32();
    else if (itemBits === 64) bytes.swap64();
  }
  if (header.type === 'bool' && data instanceof Uint8Array) {
    for (let i = 0; i < data.length; i += 1) if (data[i] !== 0) data[i] = 1;
  }
}

/** First-index-fastest to last-index-fastest. O(n) time, one array of n beside the given one. */
function fromFortran(raw: NumericArray, header: NpyHeader): NumericArray {
  const { shape } = header;
  const count = elements(shape);
  const parts = header.type === 'complex64' || header.type === 'complex128' ? 2 : 1;
  const result = allocate(header.type, count);
  const strides: number[] = [];
  let stride = parts;
  for (const dim of shape) {
    strides.push(stride);
    stride *= dim;
  }
  const index = new Array<number>(shape.length).fill(0);
  let source = 0;
  for (let target = 0; target < count * parts; target += parts) {
    for (let part = 0; part < parts; part += 1) copyElement(raw, source + part, result, target + part);
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      const dim = shape[axis] ?? 1;
      const step = strides[axis] ?? 0;
      const next = (index[axis] ?? 0) + 1;
      if (next < dim) {
        index[axis] = next;
        source += step;
        break;
      }
      index[axis] = 0;
      source -= step * (dim - 1);
    }
  }
  return result;
}

function copyElement(from: NumericArray, source: number, to: NumericArray, target: number): void {
  const value = from[source];
  if (value !== undefined) to[target] = value;
}
