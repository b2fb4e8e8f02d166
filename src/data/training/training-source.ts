import { tmpdir } from 'node:os';
import type { ValueInfo } from '../../onnx/value-type.ts';
import type { FeedBatch, FeedSource } from '../../passes/pass.ts';
import { resolveAugmentations, type AugmentField } from '../../schemas/training-data.ts';
import type { BindRole, BoundFeeds } from '../bind-feeds.ts';
import type { Dataset } from '../dataset.ts';
import { BatchMaker, type Pick } from './batch-maker.ts';
import { bindColumns, type BoundColumns } from './bind-columns.ts';
import { checkBatchSize, checkLabelKind, countClasses, probeSamples, type LabelKind } from './check-samples.ts';
import { DatasetRows } from './dataset-rows.ts';
import type { EpochOrder, OrderWindow } from './epoch-order.ts';
import { planOrder } from './plan-order.ts';
import { bytesPerSample, copyRows, makeRows, type RowReader, type Rows } from './rows.ts';
import { splitSamples, type Split } from './split.ts';
import { spoolRows } from './spool.ts';
import type { TrainingBatch } from './training-batch.ts';

export interface TrainingOptions {
  /** Samples a step. The first axis of the model's inputs is taken for the batch, whatever size it has. */
  readonly batchSize: number;
  readonly seed: number;
  readonly augment?: AugmentField | undefined;
  /** Share of the samples that is kept for validation, 0 <= share < 1; default 0. */
  readonly validationFraction?: number | undefined;
  /** What is done with the samples that are left over at the end of an epoch; `wrap` fills the batch up; default `drop`. */
  readonly lastBatch?: 'drop' | 'wrap' | undefined;
  /** Default true. */
  readonly shuffle?: boolean | undefined;
  /** What the loss needs of the labels; default `any`. */
  readonly labels?: LabelKind | undefined;
  /** Classes of the model: labels are checked against it. */
  readonly classes?: number | undefined;
  /** Bytes of samples in memory: a set that fits is read once, a larger one is streamed. Default 512 MiB. */
  readonly memoryBudgetBytes?: number | undefined;
  /** Where compressed sets that do not fit are unpacked to; default the system's folder for temporary files. */
  readonly scratchFolder?: string | undefined;
}

/** What is known of a source once it is open; plain data. */
export interface TrainingSourceInfo {
  /** Samples to train on, without those for validation. */
  readonly samples: number;
  readonly validationSamples: number;
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  /** Array name per model input. */
  readonly arrays: ReadonlyMap<string, string>;
  readonly labels: BoundFeeds['labels'];
  /** Samples per class over training and validation; undefined without class labels. */
  readonly classCounts: ReadonlyMap<number, number> | undefined;
  /** `whole`: all samples are in memory and shuffled together. `windows`: streamed, shuffled in windows of blocks. */
  readonly order: 'whole' | 'windows';
  readonly bytesPerSample: number;
  /** For the report. */
  readonly warnings: readonly string[];
}

/** Batches to train on. What an epoch gives is a function of (data, options, epoch) alone, never of time. */
export interface TrainingSource {
  readonly info: TrainingSourceInfo;
  /** The steps of an epoch from `fromStep` on: the same bytes as if the steps before had been taken too. */
  epoch(epoch: number, fromStep?: number): AsyncIterable<TrainingBatch>;
  /**
   * The samples kept for validation, in the data set's order, not augmented; undefined without any.
   * @param pad - fills the last batch up to its size by repeating its last sample; `count` and labels are of the real ones
   */
  validation(pad?: boolean): FeedSource | undefined;
  /** Frees the memory and scratch file. The data set stays open: its opener closes it. */
  close(): Promise<void>;
}

const DEFAULT_MEMORY_BUDGET_BYTES = 512 * 2 ** 20;

/**
 * Opens a data set for training: arrays chosen and preprocessing settled as in `bindFeeds`, labels all read, values
 * checked (all of them where the set fits the memory budget or is unpacked; else 64 MiB in 64 places, and the rest as it
 * is read), so that wrong data end here, before the first epoch.
 *
 * @param modelInputs - the inputs that must be fed (without initializers)
 * @throws CompressionError DATASET_SHAPE, DATASET_LABELS, DATASET_VALUES, DATASET_TOO_SMALL, DATASET_EMPTY, DISK_FULL
 * @throws RangeError for options out of range
 */
export async function openTrainingSource(
  dataset: Dataset,
  role: BindRole,
  modelInputs: readonly ValueInfo[],
  options: TrainingOptions,
): Promise<TrainingSource> {
  const { batchSize, validationFraction = 0 } = options;
  checkNumber(batchSize, 1, 'batchSize');
  checkNumber(options.seed, 0, 'seed');
  if (!(validationFraction >= 0 && validationFraction < 1)) {
    throw new RangeError(`validationFraction must be at least 0 and below 1, got ${validationFraction}`);
  }
  const augment = resolveAugmentations([...(options.augment ?? [])]);
  const resizing = augment.find((item) => item.name === 'random-resized-crop');
  const bound = bindColumns(dataset, role, modelInputs, resizing && { source: resizing.source });
  checkLabelKind(dataset, bound, options.labels ?? 'any');
  const split = splitSamples(bound.from, bound.samples, validationFraction, options.seed);
  checkBatchSize(split.training.length, batchSize, validationFraction);
  const rows = new DatasetRows(dataset, bound, options.classes);
  const classCounts = await countClasses(rows);
  const layout = await rows.layout();
  const makers = {
    training: new BatchMaker(bound, layout, { augment, seed: options.seed }),
    validation: new BatchMaker(bound, layout, { augment: [], seed: options.seed }),
  };
  const storage = await store(rows, { dataset, bound, layout, split, options });
  const order = planOrder({
    samples: split.training,
    bytesPerSample: bytesPerSample(layout),
    memoryBudgetBytes: options.memoryBudgetBytes ?? DEFAULT_MEMORY_BUDGET_BYTES,
    access: storage.kind === 'spooled' ? undefined : dataset.access,
    encoded: dataset.info.images !== undefined && bound.names.includes(dataset.info.images),
    whole: storage.kind === 'memory',
    shuffle: options.shuffle ?? true,
    seed: options.seed,
  });
  const drop = (options.lastBatch ?? 'drop') === 'drop';
  const info: TrainingSourceInfo = {
    samples: split.training.length,
    validationSamples: split.validation.length,
    batchSize,
    stepsPerEpoch: (drop ? Math.floor : Math.ceil)(split.training.length / batchSize),
    arrays: new Map(bound.columns.map(({ input }) => [input.input, input.array])),
    labels: bound.labels,
    classCounts,
    order: storage.kind === 'memory' ? 'whole' : 'windows',
    bytesPerSample: bytesPerSample(layout),
    warnings: [...bound.warnings, ...classWarnings(classCounts, bound.samples)],
  };
  return new StoredSource(info, storage, { split, order, makers, layout, first: bound.from });
}

function classWarnings(counts: ReadonlyMap<number, number> | undefined, samples: number): string[] {
  const [only] = counts?.keys() ?? [];
  return counts?.size === 1 && samples > 1
    ? [`All ${samples} samples to train on have the label ${only ?? ''}; there is nothing to tell apart`]
    : [];
}

function checkNumber(value: number, least: number, name: string): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`${name} must be a whole number from ${least}, got ${value}`);
  }
}

type Storage =
  | { readonly kind: 'memory'; readonly rows: Rows; readonly reader: RowReader }
  | { readonly kind: 'spooled' | 'dataset'; readonly reader: RowReader };

/** Brings the samples to where any of them can be had: into memory, into a scratch file, or they stay where they are. */
async function store(
  rows: DatasetRows,
  {
    dataset,
    bound: { from, samples },
    layout,
    split,
    options,
  }: {
    readonly dataset: Dataset;
    readonly bound: BoundColumns;
    readonly layout: Rows;
    readonly split: Split;
    readonly options: TrainingOptions;
  },
): Promise<Storage> {
  if (samples * bytesPerSample(layout) <= (options.memoryBudgetBytes ?? DEFAULT_MEMORY_BUDGET_BYTES)) {
    const all = makeRows(layout, samples);
    let row = 0;
    for await (const chunk of rows.chunks(from, samples)) {
      copyRows(chunk, 0, all, { row, count: chunk.count });
      row += chunk.count;
    }
    return { kind: 'memory', rows: all, reader: rows };
  }
  if (dataset.access === 'sequential') {
    const place = { from, count: samples, folder: options.scratchFolder ?? tmpdir() };
    return { kind: 'spooled', reader: await spoolRows(rows.chunks(from, samples), layout, place) };
  }
  await probeSamples(rows, split.training, layout);
  return { kind: 'dataset', reader: rows };
}

interface SourceParts {
  readonly split: Split;
  readonly order: EpochOrder;
  readonly makers: { readonly training: BatchMaker; readonly validation: BatchMaker };
  readonly layout: Rows;
  /** Index of the sample in row 0 of the rows in memory. */
  readonly first: number;
}

interface LoadedWindow {
  readonly window: OrderWindow;
  pick(slot: number): Pick;
}

class StoredSource implements TrainingSource {
  readonly info: TrainingSourceInfo;
  readonly #storage: Storage;
  readonly #parts: SourceParts;

  constructor(info: TrainingSourceInfo, storage: Storage, parts: SourceParts) {
    this.info = info;
    this.#storage = storage;
    this.#parts = parts;
  }

  async *epoch(epoch: number, fromStep = 0): AsyncGenerator<TrainingBatch> {
    checkNumber(epoch, 0, 'epoch');
    checkNumber(fromStep, 0, 'fromStep');
    const { batchSize, stepsPerEpoch } = this.info;
    const place = fromStep * batchSize;
    let step = fromStep;
    let picks: Pick[] = [];
    let last: LoadedWindow | undefined;
    for await (const loaded of this.#windows(epoch, place)) {
      last = loaded;
      const { start, order } = loaded.window;
      for (const slot of order.subarray(Math.max(0, place - start))) {
        if (step === stepsPerEpoch) return;
        picks.push(loaded.pick(slot));
        if (picks.length < batchSize) continue;
        yield this.#parts.makers.training.training(picks, { epoch, step });
        picks = [];
        step += 1;
      }
    }
    if (last === undefined || picks.length === 0 || step === stepsPerEpoch) return;
    const { order } = last.window;
    for (let i = 0; picks.length < batchSize; i += 1) picks.push(last.pick(order[i % order.length] ?? 0));
    yield this.#parts.makers.training.training(picks, { epoch, step });
  }

  validation(pad = false): FeedSource | undefined {
    const samples = this.#parts.split.validation;
    if (samples.length === 0) return undefined;
    return {
      samples: samples.length,
      batches: (batchSize = this.info.batchSize) => this.#validationBatches(samples, batchSize, pad),
    };
  }

  async close(): Promise<void> {
    await this.#storage.reader.close();
  }

  async *#validationBatches(samples: Uint32Array, batchSize: number, pad: boolean): AsyncGenerator<FeedBatch> {
    checkNumber(batchSize, 1, 'batchSize');
    for (let at = 0; at < samples.length; at += batchSize) {
      const part = samples.subarray(at, at + batchSize);
      const pick = await this.#load(part);
      const length = pad ? batchSize : part.length;
      const picks = Array.from({ length }, (_, i) => pick(Math.min(i, part.length - 1)));
      yield this.#parts.makers.validation.plain(picks, part.length);
    }
  }

  /** Windows of an epoch; while one is at work the next is read. */
  async *#windows(epoch: number, place: number): AsyncGenerator<LoadedWindow> {
    const windows = this.#parts.order.windows(epoch, place);
    const load = async (): Promise<LoadedWindow | undefined> => {
      const drawn = windows.next();
      if (drawn.done === true) return undefined;
      const window = drawn.value;
      const samples = window.positions.map((position) => this.#parts.split.training[position] ?? 0);
      return { window, pick: await this.#load(samples) };
    };
    let next = load();
    try {
      for (let current = await next; current !== undefined; current = await next) {
        next = load();
        // A failed read is reported when its window is due, not before.
        next.catch(() => undefined);
        yield current;
      }
    } finally {
      await next.catch(() => undefined);
    }
  }

  /** @returns the pick of the i-th of these samples */
  async #load(samples: Uint32Array): Promise<(i: number) => Pick> {
    const storage = this.#storage;
    const sampleOf = (i: number): number => samples[i] ?? 0;
    if (storage.kind === 'memory') {
      const { first } = this.#parts;
      return (i) => ({ rows: storage.rows, row: sampleOf(i) - first, sample: sampleOf(i) });
    }
    const rows = makeRows(this.#parts.layout, samples.length);
    await storage.reader.read(samples, rows, 0);
    return (i) => ({ rows, row: i, sample: sampleOf(i) });
  }
}
