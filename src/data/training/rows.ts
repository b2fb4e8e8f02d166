import { allocate, elementCount, type NumericArray } from '../../onnx/nd-array.ts';
import { bytesOf } from '../npy-array.ts';
import type { NumericType } from '../npy-header.ts';

/** Rows of one array, one a sample, contiguous. */
export interface Column {
  readonly type: NumericType;
  /** Of one row. */
  readonly dims: readonly number[];
  /** Elements a row. */
  readonly length: number;
  readonly rowBytes: number;
  readonly data: NumericArray;
  /** The same memory. */
  readonly bytes: Uint8Array;
}

/** Samples in memory: a column a model input, in the order of the plan, then the labels where there are some. */
export interface Rows {
  readonly count: number;
  readonly columns: readonly Column[];
}

export function makeColumn(type: NumericType, dims: readonly number[], rows: number): Column {
  const length = elementCount(dims);
  const data = allocate(type, length * rows);
  const bytes = bytesOf(data);
  return { type, dims, length, rowBytes: rows === 0 ? 0 : bytes.length / rows, data, bytes };
}

export function makeRows(like: Rows, count: number): Rows {
  return { count, columns: like.columns.map(({ type, dims }) => makeColumn(type, dims, count)) };
}

/** Bytes that one sample takes in memory. */
export function bytesPerSample(rows: Rows): number {
  return rows.columns.reduce((sum, { rowBytes }) => sum + rowBytes, 0);
}

/** Copies `count` rows; both sides have the same columns. */
export function copyRows(
  from: Rows,
  fromRow: number,
  to: Rows,
  at: { readonly row: number; readonly count: number },
): void {
  for (const [i, target] of to.columns.entries()) {
    const source = from.columns[i];
    if (source === undefined) continue;
    const start = fromRow * source.rowBytes;
    target.bytes.set(source.bytes.subarray(start, start + at.count * source.rowBytes), at.row * target.rowBytes);
  }
}

/** Samples by index, wherever they are. */
export interface RowReader {
  /** Fills rows `at`, `at` + 1, … of `into` with the samples of these indices (ascending). */
  read(samples: Uint32Array, into: Rows, at: number): Promise<void>;
  close(): Promise<void>;
}

/** The runs of neighbouring numbers in an ascending list. */
export function* runsOf(
  samples: Uint32Array,
): Generator<{ readonly from: number; readonly count: number; readonly at: number }> {
  for (let at = 0; at < samples.length;) {
    const from = samples[at] ?? 0;
    let count = 1;
    while (at + count < samples.length && samples[at + count] === from + count) count += 1;
    yield { from, count, at };
    at += count;
  }
}
