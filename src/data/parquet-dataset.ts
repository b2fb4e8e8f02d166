import {
  parquetMetadataAsync,
  parquetReadObjects,
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
} from 'hyparquet';
import { compressors, decompressZstd } from 'hyparquet-compressors';
import { CompressionError, messageOf } from '../errors.ts';
import { allocate, elementCount, type NdArray } from '../onnx/nd-array.ts';
import type { Batch, BatchOptions, Dataset, DatasetAccess, DatasetInfo, ImageRequest } from './dataset.ts';
import { floatWriter } from './convert-array.ts';
import { decodeImage, isImageBytes } from './image-codec.ts';
import { ImageStack, inParallel } from './image-dataset.ts';
import { RATIO_FREE_BYTES, type DataLimits } from './limits.ts';
import { classNames, usableColumns, type ParquetColumn } from './parquet-columns.ts';
import type { RandomAccessFile } from './random-access-file.ts';
import { sampleWindow } from './sample-window.ts';

const MAX_FOOTER_BYTES = 64 * 2 ** 20;
/** Decoded values are JavaScript objects; a row group takes several times its bytes while it is read. */
const MAX_ROW_GROUP_BYTES = 512 * 2 ** 20;
const IMAGES = 'images';

type Row = Readonly<Record<string, unknown>>;
interface NumberColumn {
  readonly column: Extract<ParquetColumn, { kind: 'numbers' }>;
  /** Per row. */
  readonly dims: readonly number[];
}
type ImageColumn = Extract<ParquetColumn, { kind: 'bytes' }>;
interface UsedColumns {
  readonly numbers: readonly NumberColumn[];
  readonly image: ImageColumn | undefined;
  readonly limits: DataLimits;
}

/**
 * A Parquet file: columns of numbers (lists of one length give more axes) and one column of encoded images, as
 * Hugging Face writes them, which becomes `images`. Read row group by row group.
 * @throws CompressionError DATASET_PARSE, DATASET_LIMIT, DATASET_EMPTY
 */
export async function openParquet(file: RandomAccessFile, limits: DataLimits): Promise<Dataset> {
  const reader = await ParquetReader.open(file, limits);
  const { metadata } = reader;
  if (reader.rows === 0) throw new CompressionError('DATASET_EMPTY', 'The Parquet file holds no rows');
  const { columns, ignored } = usableColumns(metadata);
  const [first = {}] = await reader.read(
    0,
    1,
    columns.map(({ name }) => name),
  );
  const numbers = columns
    .filter((column) => column.kind === 'numbers')
    .map((column) => ({ column, dims: dimsOf(first[column.name], column.depth, column.name) }));
  const [image] = columns
    .filter((column) => column.kind === 'bytes')
    .filter((column) => isImageBytes(encodedBytes(first[column.name], column) ?? new Uint8Array(0)));
  const taken = numbers.length + (image === undefined ? 0 : 1);
  if (taken === 0) {
    throw new CompressionError(
      'DATASET_PARSE',
      'The Parquet file has no column of numbers or of encoded images; no model can use it',
    );
  }
  const classes = classNames(metadata, ['labels', 'label']);
  const info: DatasetInfo = {
    kind: 'parquet',
    samples: reader.rows,
    arrays: numbers.map(({ column, dims }) => ({
      name: column.name,
      type: column.type,
      shape: [reader.rows, ...dims],
    })),
    ...(classes === undefined ? {} : { classes }),
    ...(image === undefined ? {} : { images: IMAGES }),
    ignoredEntries: ignored + columns.length - taken,
  };
  return new ParquetDataset(info, reader, { numbers, image, limits });
}

class ParquetDataset implements Dataset {
  readonly info: DatasetInfo;
  readonly access: DatasetAccess;
  readonly #reader: ParquetReader;
  readonly #columns: UsedColumns;

  constructor(info: DatasetInfo, reader: ParquetReader, columns: UsedColumns) {
    this.info = info;
    this.access = { groups: reader.groups.map(({ start }) => start) };
    this.#reader = reader;
    this.#columns = columns;
  }

  async *batches(options: BatchOptions): AsyncGenerator<Batch> {
    const { from, to } = sampleWindow(options, this.info.samples);
    const known = [
      ...this.#columns.numbers.map(({ column }) => column.name),
      ...(this.info.images === undefined ? [] : [IMAGES]),
    ];
    const names = options.names ?? known;
    const unknown = names.find((name) => !known.includes(name));
    if (unknown !== undefined) {
      throw new CompressionError('DATASET_SHAPE', `The data set has no array ${unknown}; it has ${known.join(', ')}`);
    }
    const stack = new ImageStack();
    let at = from;
    for await (const rows of this.#rows(from, to, { names, batchSize: options.batchSize })) {
      const entries: [string, NdArray][] = [];
      for (const number of this.#columns.numbers) {
        if (names.includes(number.column.name)) entries.push([number.column.name, stackNumbers(rows, number, at)]);
      }
      if (this.#columns.image !== undefined && names.includes(IMAGES)) {
        entries.push([
          IMAGES,
          await this.#decode(rows, this.#columns.image, { at, stack, request: options.images ?? { channels: 3 } }),
        ]);
      }
      yield { from: at, count: rows.length, arrays: Object.fromEntries(entries) };
      at += rows.length;
    }
  }

  close(): Promise<void> {
    return this.#reader.close();
  }

  /** Batches of rows across the borders of row groups; one row group is in memory at a time. */
  async *#rows(
    from: number,
    to: number,
    { names, batchSize }: { readonly names: readonly string[]; readonly batchSize: number },
  ): AsyncGenerator<Row[]> {
    const { image } = this.#columns;
    const columns = names.map((name) => (name === IMAGES && image !== undefined ? image.name : name));
    let pending: Row[] = [];
    for (const group of this.#reader.groups) {
      const [start, end] = [Math.max(from, group.start), Math.min(to, group.end)];
      if (start >= end) continue;
      const rows = await this.#reader.read(start, end, columns);
      let next = 0;
      while (pending.length + rows.length - next >= batchSize) {
        const count = batchSize - pending.length;
        yield [...pending, ...rows.slice(next, next + count)];
        pending = [];
        next += count;
      }
      pending = [...pending, ...rows.slice(next)];
    }
    if (pending.length > 0) yield pending;
  }

  async #decode(
    rows: readonly Row[],
    column: ImageColumn,
    { at, stack, request }: { readonly at: number; readonly stack: ImageStack; readonly request: ImageRequest },
  ): Promise<NdArray> {
    const names = rows.map((_, i) => `of row ${at + i}`);
    const decoded = await inParallel(rows, (row, i) => {
      const bytes = encodedBytes(row[column.name], column);
      const name = names[i] ?? '';
      if (bytes === undefined)
        throw new CompressionError(
          'DATASET_PARSE',
          `Image ${name} in column ${column.name} is missing; leave the row out`,
        );
      if (bytes.length > this.#columns.limits.maxImageBytes)
        throw new CompressionError('DATASET_LIMIT', `Image ${name} has ${bytes.length} bytes`);
      return decodeImage(bytes, name, request, this.#columns.limits.maxImagePixels);
    });
    return stack.add(decoded, names);
  }
}

interface RowGroupRange {
  readonly start: number;
  readonly end: number;
}

/** hyparquet with our limits around it. */
class ParquetReader {
  readonly metadata: FileMetaData;
  readonly rows: number;
  readonly groups: readonly RowGroupRange[];
  readonly #file: RandomAccessFile;
  readonly #buffer: AsyncBuffer;

  private constructor(file: RandomAccessFile, buffer: AsyncBuffer, metadata: FileMetaData) {
    this.#file = file;
    this.#buffer = buffer;
    this.metadata = metadata;
    let start = 0;
    this.groups = metadata.row_groups.map((group) => {
      const range = { start, end: start + Number(group.num_rows) };
      start = range.end;
      return range;
    });
    this.rows = start;
  }

  static async open(file: RandomAccessFile, limits: DataLimits): Promise<ParquetReader> {
    const tail = await file.read(Math.max(0, file.size - 8), 8);
    const footerBytes = new DataView(tail.buffer, tail.byteOffset, tail.byteLength).getUint32(0, true);
    if (Buffer.from(tail.subarray(4)).toString('latin1') !== 'PAR1') {
      throw new CompressionError(
        'DATASET_PARSE',
        'The Parquet file does not end with PAR1; it is cut short: upload it again',
      );
    }
    if (footerBytes > MAX_FOOTER_BYTES) {
      throw new CompressionError(
        'DATASET_LIMIT',
        `The Parquet footer has ${footerBytes} bytes, at most ${MAX_FOOTER_BYTES} are read`,
      );
    }
    const buffer: AsyncBuffer = {
      byteLength: file.size,
      async slice(start, end = file.size) {
        if (start < 0 || end > file.size || start > end)
          throw new RangeError(`bytes ${start} to ${end} lie outside the file`);
        const bytes = new Uint8Array(end - start);
        await file.readInto(bytes, start);
        return bytes.buffer;
      },
    };
    const metadata = await guarded(() => parquetMetadataAsync(buffer));
    const reader = new ParquetReader(file, buffer, metadata);
    reader.#checkSizes(limits);
    return reader;
  }

  /** Rows [start, end) of a row group, as objects. */
  read(start: number, end: number, columns: readonly string[]): Promise<Row[]> {
    return guarded(() =>
      parquetReadObjects({
        file: this.#buffer,
        metadata: this.metadata,
        columns: [...new Set(columns)],
        rowStart: start,
        rowEnd: end,
        compressors: BOUNDED_COMPRESSORS,
        utf8: false,
        useOffsetIndex: true,
      }),
    );
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #checkSizes(limits: DataLimits): void {
    if (Number(this.metadata.num_rows) !== this.rows || !Number.isSafeInteger(this.rows)) {
      throw new CompressionError(
        'DATASET_PARSE',
        `The Parquet file says it has ${this.metadata.num_rows} rows, its row groups have ${this.rows}`,
      );
    }
    let total = 0;
    for (const [index, group] of this.metadata.row_groups.entries()) {
      const bytes = group.columns.reduce(
        (sum, column) => sum + Number(column.meta_data?.total_uncompressed_size ?? 0),
        0,
      );
      if (group.columns.some((column) => column.file_path !== undefined)) {
        throw new CompressionError(
          'DATASET_PARSE',
          'The Parquet file keeps its columns in other files; write it as one',
        );
      }
      if (!(bytes >= 0 && bytes <= MAX_ROW_GROUP_BYTES)) {
        throw new CompressionError(
          'DATASET_LIMIT',
          `Row group ${index} of the Parquet file has ${bytes} bytes, at most ${MAX_ROW_GROUP_BYTES} are read; write smaller row groups`,
        );
      }
      total += bytes;
    }
    if (total > limits.maxBytes || (total > RATIO_FREE_BYTES && total > limits.maxRatio * this.#file.size)) {
      throw new CompressionError(
        'DATASET_LIMIT',
        `The Parquet file has ${this.#file.size} bytes and decompresses to ${total}; such files are refused`,
      );
    }
  }
}

/** No page may ask for more memory than a whole row group may have. */
const BOUNDED_COMPRESSORS: Compressors = Object.fromEntries(
  Object.entries(compressors).map(([codec, decompress]) => [
    codec,
    (input: Uint8Array, outputLength: number): Uint8Array => {
      if (outputLength > MAX_ROW_GROUP_BYTES) {
        throw new CompressionError('DATASET_LIMIT', `A Parquet page says it decompresses to ${outputLength} bytes`);
      }
      // fzstd makes what the frame asks for unless it is given the memory.
      return codec === 'ZSTD' ? decompressZstd(input, new Uint8Array(outputLength)) : decompress(input, outputLength);
    },
  ]),
);

async function guarded<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CompressionError) throw error;
    throw new CompressionError('DATASET_PARSE', `The Parquet file cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function encodedBytes(value: unknown, column: ImageColumn): Uint8Array | undefined {
  const bytes =
    column.inStruct && typeof value === 'object' && value !== null && 'bytes' in value ? value.bytes : value;
  return bytes instanceof Uint8Array ? bytes : undefined;
}

/** Lengths of the nested lists in one row. */
function dimsOf(value: unknown, depth: number, name: string): number[] {
  const dims: number[] = [];
  let inner = value;
  for (let level = 0; level < depth; level += 1) {
    if (!isList(inner))
      throw new CompressionError('DATASET_PARSE', `Column ${name} has no list in row 0; leave the row out`);
    dims.push(inner.length);
    inner = inner[0];
  }
  return dims;
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function stackNumbers(rows: readonly Row[], { column, dims }: NumberColumn, first: number): NdArray {
  const perRow = elementCount(dims);
  const data = allocate(column.type, rows.length * perRow);
  const write = floatWriter(column.type);
  let next = 0;
  const put = (value: unknown, level: number, row: number): void => {
    if (level < dims.length) {
      if (!isList(value) || value.length !== dims[level]) {
        const got = isList(value) ? `${value.length}` : 'none';
        throw new CompressionError(
          'DATASET_SHAPE',
          `Column ${column.name} has a list of ${dims[level] ?? 0} in row 0 and of ${got} in row ${row}; all rows need one shape`,
        );
      }
      for (const item of Array.from(value)) put(item, level + 1, row);
      return;
    }
    if (typeof value !== 'number' && typeof value !== 'bigint' && typeof value !== 'boolean') {
      throw new CompressionError(
        'DATASET_PARSE',
        `Column ${column.name} has no number in row ${row} (null); fill it in or leave the row out`,
      );
    }
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[next] = BigInt(value);
    else data[next] = write(Number(value));
    next += 1;
  };
  for (const [i, row] of rows.entries()) put(row[column.name], 0, first + i);
  return { type: column.type, dims: [rows.length, ...dims], data };
}
