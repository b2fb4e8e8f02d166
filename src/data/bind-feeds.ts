import { CompressionError } from '../errors.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { viewAs } from '../onnx/tensor.ts';
import type { ValueInfo } from '../onnx/value-type.ts';
import type { FeedBatch, FeedSource } from '../passes/pass.ts';
import { convertArray, countNonFinite, isIntegerType } from './convert-array.ts';
import type { Batch, BatchOptions, Dataset } from './dataset.ts';
import {
  fits,
  imageRequest,
  planInput,
  shapeText,
  sourceArrays,
  type InputPlan,
  type SourceArray,
} from './feed-plan.ts';
import { transformImages, type Preprocess } from './image-transform.ts';
import { chooseLabels, readLabels } from './labels.ts';

/** One role of a job's `data`, with its preprocessing (its own, or else the job's). */
export interface BindRole {
  readonly role: 'calibration' | 'training' | 'evaluation';
  readonly samples?: number | undefined;
  /** Samples [from, to). */
  readonly range?: readonly [number, number] | undefined;
  /** Model input to array name. */
  readonly inputs?: Readonly<Record<string, string>> | undefined;
  readonly labels?: string | undefined;
  readonly preprocess?: Preprocess | undefined;
}

export interface BindOptions {
  /** Samples a batch where neither the model nor the caller of `batches` says otherwise; default 32. */
  readonly batchSize?: number;
  /** Number of classes, where the model's output tells: labels are checked against it. */
  readonly classes?: number | undefined;
}

export interface BoundFeeds extends FeedSource {
  /** Array name per model input. */
  readonly arrays: ReadonlyMap<string, string>;
  /** Class indices, float targets, or none. Calibration has labels only where its role names them. */
  readonly labels: { readonly array: string; readonly kind: 'class' | 'target' } | undefined;
  /** Batch size when `batches` is not told one. */
  readonly batchSize: number;
  /** NaN and infinite values among the inputs, as far as a pass has read them. */
  readonly nonFinite: number;
  /** For the report: clamped ranges, and what a whole pass showed (a single class, values that are not finite). */
  readonly warnings: readonly string[];
}

const DEFAULT_BATCH_SIZE = 32;

/**
 * Feeds of a model from a data set: arrays chosen by `role.inputs`, else by equal name, else the only one that is left
 * and not labels; types, shapes and preprocessing settled once, before anything is read.
 *
 * A fixed first axis of the model is the batch size; a last, smaller batch is then filled up by repeating its last
 * sample, and `count` says how many are real. An input whose rank is one less than the array's gets one sample at a time.
 *
 * @param modelInputs - the inputs that must be fed (without initializers)
 * @throws CompressionError DATASET_SHAPE, DATASET_LABELS, DATASET_EMPTY; the batches throw what only the data can show
 */
export function bindFeeds(
  dataset: Dataset,
  role: BindRole,
  modelInputs: readonly ValueInfo[],
  options: BindOptions = {},
): BoundFeeds {
  const arrays = sourceArrays(dataset.info);
  const labels = chooseLabels(arrays, role.labels);
  const chosen = chooseArrays(arrays, labels, role, modelInputs);
  const plans = modelInputs.map((input) => {
    const array = chosen.get(input.name);
    if (array === undefined) throw new CompressionError('INTERNAL', `no array was chosen for ${input.name}`);
    return planInput(input, array, role.preprocess, array.name === dataset.info.images);
  });
  const used = role.role === 'calibration' && role.labels === undefined ? undefined : labels;
  const rows = commonRows([...chosen.values(), ...(used === undefined ? [] : [used])]);
  checkSymbols(plans, chosen);
  return new DatasetFeeds(dataset, plans, {
    window: sampleRange(role, rows),
    fixedBatch: fixedBatch(plans),
    batchSize: options.batchSize ?? DEFAULT_BATCH_SIZE,
    labels:
      used === undefined ? undefined : { name: used.name, isClass: isIntegerType(used.type), classes: options.classes },
  });
}

function chooseArrays(
  arrays: readonly SourceArray[],
  labels: SourceArray | undefined,
  role: BindRole,
  modelInputs: readonly ValueInfo[],
): Map<string, SourceArray> {
  const byName = new Map(arrays.map((array) => [array.name, array]));
  const wanted = new Map(Object.entries(role.inputs ?? {}));
  const stranger = [...wanted.keys()].find((name) => !modelInputs.some((input) => input.name === name));
  const inputNames = modelInputs.map(({ name }) => name).join(', ');
  if (stranger !== undefined) {
    throw new CompressionError(
      'DATASET_SHAPE',
      `data.${role.role}.inputs names ${stranger}, the model's inputs are ${inputNames}`,
    );
  }
  const chosen = new Map<string, SourceArray>();
  for (const { name } of modelInputs) {
    const arrayName = wanted.get(name) ?? name;
    const array = byName.get(arrayName);
    if (array !== undefined) chosen.set(name, array);
    else if (wanted.has(name)) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `data.${role.role}.inputs maps ${name} to array ${arrayName}; the data set has ${[...byName.keys()].join(', ')}`,
      );
    }
  }
  const open = modelInputs.filter(({ name }) => !chosen.has(name));
  const taken = new Set([...chosen.values()]);
  const left = arrays.filter((array) => array !== labels && !taken.has(array));
  const [input] = open;
  const [only] = left;
  if (input !== undefined && only !== undefined && open.length === 1 && left.length === 1) chosen.set(input.name, only);
  else if (input !== undefined) {
    throw new CompressionError(
      'DATASET_SHAPE',
      `No array for model input ${open.map(describeInput).join(' and ')}: the data set has ${arrays.map(describeArray).join(', ')}; name one in data.${role.role}.inputs`,
    );
  }
  return chosen;
}

const describeInput = ({ name, type }: ValueInfo): string =>
  type?.kind === 'tensor' ? `${name} (${type.elementType} ${shapeText(type.shape ?? [])})` : name;
const describeArray = ({ name, type, shape }: SourceArray): string => `${name} (${type} ${shapeText(shape)})`;

function commonRows(arrays: readonly SourceArray[]): number {
  const scalar = arrays.find(({ shape }) => shape.length === 0);
  if (scalar !== undefined) {
    throw new CompressionError(
      'DATASET_SHAPE',
      `Array ${scalar.name} is a single value; expected one value a sample, shape [N]`,
    );
  }
  const [first] = arrays;
  const other = arrays.find(({ shape }) => shape[0] !== first?.shape[0]);
  if (first !== undefined && other !== undefined) {
    throw new CompressionError(
      'DATASET_SHAPE',
      `Arrays ${describeArray(first)} and ${describeArray(other)} have different numbers of samples; name arrays that belong together`,
    );
  }
  return first?.shape[0] ?? 0;
}

/** The batch size that the model prescribes, if any. */
function fixedBatch(plans: readonly InputPlan[]): number | undefined {
  if (plans.some(({ wholeSample }) => wholeSample)) return 1;
  let fixed: { readonly input: string; readonly size: number } | undefined;
  for (const { input, shape } of plans) {
    const size = shape?.[0];
    if (typeof size !== 'number') continue;
    if (size < 1)
      throw new CompressionError(
        'DATASET_SHAPE',
        `Model input ${input} takes batches of ${size} samples; nothing can be fed to it`,
      );
    if (fixed !== undefined && fixed.size !== size) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `Model inputs ${fixed.input} and ${input} have first axes of ${fixed.size} and ${size}; a data set feeds inputs with the same batch axis only`,
      );
    }
    fixed = { input, size };
  }
  return fixed?.size;
}

/** A symbol that stands in several inputs must have one size. The batch axis is the same for all by construction. */
function checkSymbols(plans: readonly InputPlan[], chosen: ReadonlyMap<string, SourceArray>): void {
  const sizes = new Map<string, { readonly size: number; readonly input: string }>();
  for (const { input, shape, wholeSample, image } of plans) {
    if (image !== undefined) continue;
    const given = chosen.get(input)?.shape ?? [];
    for (const [axis, symbol] of (shape ?? []).entries()) {
      const size = given[wholeSample ? axis + 1 : axis];
      if (typeof symbol !== 'string' || typeof size !== 'number' || (axis === 0 && !wholeSample)) continue;
      const known = sizes.get(symbol);
      if (known !== undefined && known.size !== size) {
        throw new CompressionError(
          'DATASET_SHAPE',
          `Dimension ${symbol} is ${known.size} in the array for ${known.input} and ${size} in the array for ${input}; it must be one size`,
        );
      }
      sizes.set(symbol, { size, input });
    }
  }
}

interface SampleRange {
  readonly from: number;
  readonly to: number;
  readonly warnings: readonly string[];
}

function sampleRange({ role, range, samples }: BindRole, rows: number): SampleRange {
  const warnings: string[] = [];
  const [from, end] = range ?? [0, rows];
  if (from >= rows) {
    throw new CompressionError(
      'DATASET_EMPTY',
      range === undefined
        ? 'The data set holds no samples'
        : `data.${role}.range begins at sample ${from}, the data set has ${rows}`,
    );
  }
  if (end > rows)
    warnings.push(`data.${role}.range ends at sample ${end}, the data set has ${rows}: all from ${from} on are used`);
  const available = Math.min(end, rows) - from;
  if (samples !== undefined && samples > available) {
    warnings.push(`data.${role}.samples asks for ${samples} samples, there are ${available}: all are used`);
  }
  const count = Math.min(samples ?? available, available);
  if (count < 1)
    throw new CompressionError('DATASET_EMPTY', `data.${role} asks for no sample: range and samples leave nothing`);
  return { from, to: from + count, warnings };
}

interface FeedSettings {
  readonly window: SampleRange;
  readonly fixedBatch: number | undefined;
  readonly batchSize: number;
  readonly labels:
    { readonly name: string; readonly isClass: boolean; readonly classes: number | undefined } | undefined;
}

class DatasetFeeds implements BoundFeeds {
  readonly samples: number;
  readonly batchSize: number;
  readonly arrays: ReadonlyMap<string, string>;
  readonly labels: BoundFeeds['labels'];
  nonFinite = 0;
  readonly #dataset: Dataset;
  readonly #plans: readonly InputPlan[];
  readonly #settings: FeedSettings;
  #singleClass: bigint | undefined;

  constructor(dataset: Dataset, plans: readonly InputPlan[], settings: FeedSettings) {
    this.#dataset = dataset;
    this.#plans = plans;
    this.#settings = settings;
    this.samples = settings.window.to - settings.window.from;
    this.batchSize = settings.fixedBatch ?? settings.batchSize;
    this.arrays = new Map(plans.map(({ input, array }) => [input, array]));
    const { labels } = settings;
    this.labels = labels === undefined ? undefined : { array: labels.name, kind: labels.isClass ? 'class' : 'target' };
  }

  get warnings(): readonly string[] {
    const found = [...this.#settings.window.warnings];
    if (this.nonFinite > 0)
      found.push(`${this.nonFinite} input values are NaN or infinite; results that rest on them mean little`);
    if (this.#singleClass !== undefined) {
      found.push(
        `All ${this.samples} samples have the label ${this.#singleClass}; an accuracy over one class says little`,
      );
    }
    return found;
  }

  async *batches(batchSize?: number): AsyncGenerator<FeedBatch> {
    const { window, fixedBatch: fixed, labels } = this.#settings;
    const names = [...new Set([...this.arrays.values(), ...(labels === undefined ? [] : [labels.name])])];
    const images = imageRequest(this.#plans, this.#dataset.info.images);
    const options: BatchOptions = {
      from: window.from,
      to: window.to,
      batchSize: fixed ?? batchSize ?? this.batchSize,
      names,
      ...(images === undefined ? {} : { images }),
    };
    const pass = { nonFinite: 0, classes: new Set<bigint>() };
    for await (const batch of this.#dataset.batches(options)) {
      const feeds: [string, NdArray][] = [];
      for (const plan of this.#plans) {
        const fed = this.#feed(plan, batch);
        if (plan.image === undefined) pass.nonFinite += countNonFinite(fed);
        feeds.push([plan.input, plan.wholeSample ? withoutFirstAxis(fed) : padTo(fed, fixed ?? batch.count)]);
      }
      this.nonFinite = Math.max(this.nonFinite, pass.nonFinite);
      yield { feeds: Object.fromEntries(feeds), ...this.#labelsOf(batch, pass.classes), count: batch.count };
    }
    const [only] = pass.classes;
    this.#singleClass = pass.classes.size === 1 && this.samples > 1 ? only : undefined;
  }

  #feed(plan: InputPlan, batch: Batch): NdArray {
    const array = arrayOf(batch, plan.array);
    if (plan.image === undefined)
      return convertArray(array, plan.type, `Array ${plan.array} for model input ${plan.input}`);
    const image = this.#dataset.info.images === plan.array ? { ...plan.image, resize: undefined } : plan.image;
    const fed = transformImages(array, image);
    const wanted = plan.wholeSample ? [null, ...(plan.shape ?? [])] : plan.shape;
    if (wanted?.every((dim, axis) => axis === 0 || fits(dim, fed.dims[axis] ?? null)) === false) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `The images are ${shapeText(fed.dims)}, model input ${plan.input} takes ${shapeText(wanted)}; set preprocess.resize`,
      );
    }
    return fed;
  }

  #labelsOf(batch: Batch, seen: Set<bigint>): { labels?: NdArray } {
    const { labels } = this.#settings;
    if (labels === undefined) return {};
    const read = readLabels(arrayOf(batch, labels.name), batch.from, labels.name, labels.classes);
    if (read.data instanceof BigInt64Array && seen.size < 2) for (const label of read.data) seen.add(label);
    return { labels: read };
  }
}

function arrayOf(batch: Batch, name: string): NdArray {
  const array = batch.arrays[name];
  if (array === undefined) throw new CompressionError('INTERNAL', `the batch has no array ${name}`);
  return array;
}

function withoutFirstAxis(array: NdArray): NdArray {
  return { ...array, dims: array.dims.slice(1) };
}

/** The array with its last row repeated up to `rows`; itself when it is long enough. */
function padTo(array: NdArray, rows: number): NdArray {
  const [count = 0, ...rest] = array.dims;
  if (array.type === 'string' || count >= rows || count === 0) return array;
  const perRow = array.data.length / count;
  const bytesPerRow = perRow * array.data.BYTES_PER_ELEMENT;
  const data = new Uint8Array(bytesPerRow * rows);
  const source = new Uint8Array(array.data.buffer, array.data.byteOffset, array.data.byteLength);
  data.set(source);
  const last = source.subarray(bytesPerRow * (count - 1));
  for (let row = count; row < rows; row += 1) data.set(last, row * bytesPerRow);
  return { type: array.type, dims: [rows, ...rest], data: viewAs(array.type, perRow * rows, data) };
}
