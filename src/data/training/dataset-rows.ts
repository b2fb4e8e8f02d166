import { CompressionError } from '../../errors.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import { convertArray, countNonFinite } from '../convert-array.ts';
import type { Batch, Dataset } from '../dataset.ts';
import { fits, shapeText } from '../feed-plan.ts';
import { transformImages } from '../image-transform.ts';
import { readLabels } from '../labels.ts';
import { bytesOf } from '../npy-array.ts';
import type { NumericType } from '../npy-header.ts';
import type { BoundColumns, ColumnPlan } from './bind-columns.ts';
import { bytesPerSample, copyRows, makeColumn, runsOf, type Column, type RowReader, type Rows } from './rows.ts';

/** Samples that are read in one go; bounds what is in memory beside the target. */
const CHUNK_BYTES = 8 * 2 ** 20;

/** Reads samples of a data set as columns: pixels as planar uint8, other inputs in the model's type, labels checked. */
export class DatasetRows implements RowReader {
  readonly #dataset: Dataset;
  readonly #bound: BoundColumns;
  readonly #classes: number | undefined;
  #chunkRows = 64;
  #dims: readonly (readonly number[])[] = [];

  constructor(dataset: Dataset, bound: BoundColumns, classes: number | undefined) {
    this.#dataset = dataset;
    this.#bound = bound;
    this.#classes = classes;
  }

  /** Rows without samples: the types and shapes of the columns, from the first sample. */
  async layout(): Promise<Rows> {
    const { from } = this.#bound;
    for await (const batch of this.#batches(from, from + 1, 1)) {
      const arrays = this.#columns(batch);
      const columns = arrays.map(({ type, dims }) => makeColumn(type, dims.slice(1), 1));
      const layout = { count: 1, columns };
      this.#chunkRows = Math.max(1, Math.floor(CHUNK_BYTES / Math.max(1, bytesPerSample(layout))));
      this.#dims = columns.map(({ dims }) => dims);
      return layout;
    }
    throw new CompressionError('DATASET_EMPTY', 'The data set holds no samples');
  }

  async read(samples: Uint32Array, into: Rows, at: number): Promise<void> {
    for (const run of runsOf(samples)) {
      let row = at + run.at;
      for await (const chunk of this.chunks(run.from, run.count)) {
        copyRows(chunk, 0, into, { row, count: chunk.count });
        row += chunk.count;
      }
    }
  }

  /** Samples [from, from + count) in order, some MiB at a time. Call `layout` first. */
  async *chunks(from: number, count: number): AsyncGenerator<Rows> {
    for await (const batch of this.#batches(from, from + count, Math.min(count, this.#chunkRows))) {
      const columns = this.#columns(batch).map((array, i) => this.#column(array, i, batch.from));
      yield { count: batch.count, columns };
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** All labels of the role, checked; nothing else is read (images are not decoded). */
  async *labels(): AsyncGenerator<NdArray> {
    const { labels, from, samples } = this.#bound;
    if (labels === undefined) return;
    const options = { from, to: from + samples, batchSize: 65_536, names: [labels.array] };
    for await (const batch of this.#dataset.batches(options)) yield this.#labelsOf(batch, labels.array);
  }

  #batches(from: number, to: number, batchSize: number): AsyncIterable<Batch> {
    const { names, images } = this.#bound;
    return this.#dataset.batches({ from, to, batchSize, names, ...(images === undefined ? {} : { images }) });
  }

  #columns(batch: Batch): NumericNdArray[] {
    const { columns, labels } = this.#bound;
    const arrays = columns.map((plan) => loadColumn(plan, arrayOf(batch, plan.input.array), batch.from));
    return labels === undefined ? arrays : [...arrays, this.#labelsOf(batch, labels.array)];
  }

  #labelsOf(batch: Batch, name: string): NumericNdArray {
    const read = numeric(readLabels(arrayOf(batch, name), batch.from, name, this.#classes));
    refuseNonFinite(read, batch.from, `Labels ${name}`);
    return read;
  }

  #column({ type, dims: [rows = 0, ...dims], data }: NumericNdArray, index: number, first: number): Column {
    const expected = this.#dims[index] ?? dims;
    if (dims.length !== expected.length || dims.some((dim, axis) => dim !== expected[axis])) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `Sample ${first} has shape ${shapeText(dims)}, the first one has ${shapeText(expected)}; training needs samples of one size: set preprocess.resize`,
      );
    }
    const bytes = bytesOf(data);
    return { type, dims, length: data.length / rows, rowBytes: bytes.length / rows, data, bytes };
  }
}

type NumericNdArray = Extract<NdArray, { readonly type: NumericType }>;

function loadColumn(plan: ColumnPlan, array: NdArray, first: number): NumericNdArray {
  const where = `Array ${plan.input.array} for model input ${plan.input.input}`;
  if (plan.finish === undefined) {
    const converted = numeric(convertArray(array, plan.input.type, where));
    refuseNonFinite(converted, first, where);
    return converted;
  }
  const loaded = numeric(plan.load === undefined ? array : transformImages(array, plan.load));
  checkImageShape(plan, loaded);
  return loaded;
}

/** Encoded images show their size only now. */
function checkImageShape({ input, finish, outputSize }: ColumnPlan, { dims }: NdArray): void {
  if (finish === undefined || finish.target === 'same' || outputSize !== undefined) return;
  const [, channels = null, height = null, width = null] = dims;
  const fed = finish.target === 'nchw' ? [null, channels, height, width] : [null, height, width, channels];
  if (input.shape?.every((dim, axis) => axis === 0 || fits(dim, fed[axis] ?? null)) === false) {
    throw new CompressionError(
      'DATASET_SHAPE',
      `The images are ${shapeText(fed)}, model input ${input.input} takes ${shapeText(input.shape)}; set preprocess.resize`,
    );
  }
}

/**
 * NaN and infinities in what training would learn from. O(n), no copy.
 * @param first - index of the first row's sample, for the error
 * @throws CompressionError DATASET_VALUES, naming the sample
 */
function refuseNonFinite(array: NdArray, first: number, what: string): void {
  const count = countNonFinite(array);
  if (count === 0 || array.type === 'string') return;
  const rows = array.dims[0] ?? 1;
  const length = array.data.length / rows;
  for (let row = 0; row < rows; row += 1) {
    const part = { ...array, data: array.data.subarray(row * length, (row + 1) * length) };
    if (countNonFinite(part) > 0) {
      throw new CompressionError(
        'DATASET_VALUES',
        `${what}: sample ${first + row} holds NaN or infinite values (${count} among the ${rows} samples from ${first} on); training needs finite numbers: correct or drop these samples`,
      );
    }
  }
}

function arrayOf(batch: Batch, name: string): NdArray {
  const array = batch.arrays[name];
  if (array === undefined) throw new CompressionError('INTERNAL', `the batch has no array ${name}`);
  return array;
}

function numeric(array: NdArray): NumericNdArray {
  if (array.type === 'string') throw new CompressionError('INTERNAL', 'an array of strings was chosen for training');
  return array;
}
