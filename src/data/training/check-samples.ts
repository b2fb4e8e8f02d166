import { CompressionError } from '../../errors.ts';
import { sourceArrays } from '../feed-plan.ts';
import type { Dataset } from '../dataset.ts';
import type { BoundColumns } from './bind-columns.ts';
import type { DatasetRows } from './dataset-rows.ts';
import { bytesPerSample, makeRows, type RowReader, type Rows } from './rows.ts';

/** Sets that are not read whole are looked into before the first epoch: so many bytes, in so many places. */
const PROBE_BYTES = 64 * 2 ** 20;
const PROBE_PLACES = 64;

/** What the loss needs: class indices, numbers, whatever there is, or nothing. */
export type LabelKind = 'class' | 'target' | 'any';

/** @throws CompressionError DATASET_LABELS when the role's labels cannot be what is asked for */
export function checkLabelKind(dataset: Dataset, bound: BoundColumns, wanted: LabelKind): void {
  if (wanted === 'any') return;
  const arrays = sourceArrays(dataset.info);
  const needs = wanted === 'class' ? 'class indices (integers, [N])' : 'numbers to be met (floats)';
  const { labels } = bound;
  if (labels === undefined) {
    throw new CompressionError(
      'DATASET_LABELS',
      `The loss needs labels, ${needs}; the data set has ${arrays.map(({ name }) => name).join(', ')}, none of them named labels or label: name the array in data.training.labels`,
    );
  }
  const array = arrays.find(({ name }) => name === labels.array);
  const described = `${labels.array} is ${array?.type ?? ''} [${array?.shape.join(', ') ?? ''}]`;
  if (labels.kind !== wanted) {
    const hint = wanted === 'class' ? 'save them as int64, or use a loss for numbers (mse)' : 'save them as float32';
    throw new CompressionError(
      'DATASET_LABELS',
      `The loss needs labels that are ${needs}, array ${described}; ${hint}`,
    );
  }
  const [, second, ...rest] = array?.shape ?? [];
  if (wanted === 'class' && second !== undefined && (second !== 1 || rest.length > 0)) {
    throw new CompressionError(
      'DATASET_LABELS',
      `The loss needs one class index a sample, [N], array ${described}; save one-hot labels as argmax(axis=1)`,
    );
  }
}

/**
 * Reads all labels. Images are not decoded for it.
 * @returns samples per class; undefined without class labels
 * @throws CompressionError DATASET_LABELS, DATASET_VALUES
 */
export async function countClasses(rows: DatasetRows): Promise<ReadonlyMap<number, number> | undefined> {
  const counts = new Map<number, number>();
  for await (const { data } of rows.labels()) {
    if (!(data instanceof BigInt64Array)) continue;
    for (const label of data) counts.set(Number(label), (counts.get(Number(label)) ?? 0) + 1);
  }
  return counts.size === 0 ? undefined : counts;
}

/**
 * Reads a part of a set that is larger than memory, evenly spread, so that what is wrong throughout ends before the
 * first epoch. The rest is checked as it is read.
 * @throws CompressionError DATASET_VALUES, DATASET_SHAPE, DATASET_PARSE …
 */
export async function probeSamples(reader: RowReader, samples: Uint32Array, layout: Rows): Promise<void> {
  const affordable = Math.max(1, Math.floor(PROBE_BYTES / Math.max(1, bytesPerSample(layout))));
  const places = Math.min(PROBE_PLACES, affordable, samples.length);
  const each = Math.max(1, Math.min(Math.floor(affordable / places), Math.floor(samples.length / places)));
  for (let place = 0; place < places; place += 1) {
    // From the first sample to the last one, both included.
    const start = places === 1 ? 0 : Math.round((place * (samples.length - each)) / (places - 1));
    const part = samples.subarray(start, start + each);
    await reader.read(part, makeRows(layout, part.length), 0);
  }
}

/** @throws CompressionError DATASET_TOO_SMALL */
export function checkBatchSize(training: number, batchSize: number, fraction: number): void {
  if (training >= batchSize) return;
  const without = fraction === 0 ? '' : ` (without the validation fraction of ${fraction})`;
  throw new CompressionError(
    'DATASET_TOO_SMALL',
    `There are ${training} samples to train on${without}, a batch takes ${batchSize}; set batchSize to ${training} or less, or give more samples`,
  );
}
