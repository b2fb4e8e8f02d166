import { CompressionError } from '../../errors.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import { viewAs } from '../../onnx/tensor.ts';
import type { AugmentationObject } from '../../schemas/training-data.ts';
import type { FeedBatch } from '../../passes/pass.ts';
import { transformImages } from '../image-transform.ts';
import type { SeededRandom } from '../seeded-random.ts';
import { checkAugmentations, imageSteps, isSpatial, mixSteps, type ImageStep, type MixStep } from './augmentations.ts';
import { unmixed, type ImageGeometry, type MixTarget } from './augment/mixing.ts';
import type { PixelData, Planes } from './augment/planes.ts';
import type { BoundColumns, ColumnPlan } from './bind-columns.ts';
import { keyedRandom, shuffle, STREAM } from './keyed-random.ts';
import { makeColumn, type Column, type Rows } from './rows.ts';
import type { TrainingBatch } from './training-batch.ts';

/** A sample in memory: its row there, and its index in the data set. */
export interface Pick {
  readonly rows: Rows;
  readonly row: number;
  readonly sample: number;
}

export interface BatchKey {
  readonly epoch: number;
  readonly step: number;
}

interface Input {
  readonly plan: ColumnPlan;
  readonly column: Column;
  readonly steps: readonly ImageStep[];
  /** Of an image as it is fed; undefined for what is no image. */
  readonly size: { readonly channels: number; readonly height: number; readonly width: number } | undefined;
  /** Two images to work on between steps. */
  readonly scratch: readonly [Planes, Planes] | undefined;
}

/** Draws of one use, in one place of the list: a pass over the same samples in another order draws the same. */
const MIX_CHOICE = 255;

/** Turns rows into batches: augmentation, preprocessing, mixing. The same picks and key give the same bytes. */
export class BatchMaker {
  readonly #inputs: readonly Input[];
  readonly #mixes: readonly MixStep[];
  readonly #seed: number;

  /** @throws CompressionError DATASET_SHAPE, DATASET_LABELS when an augmentation cannot be done on these inputs */
  constructor(
    bound: BoundColumns,
    layout: Rows,
    options: { readonly augment: readonly AugmentationObject[]; readonly seed: number },
  ) {
    const inputs = bound.columns.map((plan, i) => {
      const column = layout.columns[i];
      if (column === undefined) throw new CompressionError('INTERNAL', `no column for ${plan.input.input}`);
      return { plan, column };
    });
    checkAugmentations(options.augment, inputs, bound.labels !== undefined);
    this.#inputs = inputs.map(({ plan, column }) => makeInput(plan, column, options.augment));
    this.#mixes = mixSteps(options.augment);
    this.#seed = options.seed;
  }

  training(picks: readonly Pick[], { epoch, step }: BatchKey): TrainingBatch {
    const feeds = Object.fromEntries(
      this.#inputs.map((input) => [input.plan.input.input, this.#augmented(input, picks, epoch)]),
    );
    const labels = this.#labels(picks);
    const mixed = labels === undefined ? undefined : this.#mix({ feeds, labels, picks, key: { epoch, step } });
    return {
      feeds,
      ...(labels === undefined ? {} : { labels }),
      ...(mixed === undefined ? {} : { mixed }),
      count: picks.length,
      epoch,
      step,
      samples: Uint32Array.from(picks, ({ sample }) => sample),
    };
  }

  /** Nothing is augmented. @param count - picks that are real; those behind fill the batch up */
  plain(picks: readonly Pick[], count: number): FeedBatch {
    const feeds = Object.fromEntries(
      this.#inputs.map((input) => [input.plan.input.input, this.#gathered(input, picks)]),
    );
    const labels = this.#labels(picks.slice(0, count));
    return { feeds, ...(labels === undefined ? {} : { labels }), count };
  }

  #augmented(input: Input, picks: readonly Pick[], epoch: number): NdArray {
    const { plan, column, steps, size, scratch } = input;
    if (steps.length === 0 || size === undefined || scratch === undefined) return this.#gathered(input, picks);
    const batch = makeColumn(column.type, [size.channels, size.height, size.width], picks.length);
    const data = pixelData(batch);
    for (const [at, { rows, row, sample }] of picks.entries()) {
      const index = this.#inputs.indexOf(input);
      let from: Planes = planesOf(rows.columns[index] ?? column, row);
      for (const [i, { place, augmentation }] of steps.entries()) {
        const last = i === steps.length - 1;
        const grows = augmentation.name === 'random-resized-crop';
        const shape = grows ? size : from;
        const to: Planes = last
          ? { ...size, data: data.subarray(at * batch.length, (at + 1) * batch.length) }
          : scratchOf(scratch[i % 2] ?? from, shape);
        augmentation.apply(from, to, keyedRandom(this.#seed, STREAM.sample, epoch, sample, place));
        from = to;
      }
    }
    return finished(plan, batch, picks.length);
  }

  #gathered({ plan, column }: Input, picks: readonly Pick[]): NdArray {
    const index = this.#inputs.findIndex((input) => input.plan === plan);
    const batch = gather(picks, index, column);
    if (plan.outputSize === undefined || plan.finish === undefined) return finished(plan, batch, picks.length);
    // The images are larger than the model's input, and no augmentation has cut them.
    const resize = { ...plan.outputSize, fit: plan.input.image?.resize?.fit ?? 'cover' } as const;
    return transformImages(arrayOf(batch, picks.length), { ...plan.finish, resize });
  }

  #labels(picks: readonly Pick[]): NdArray | undefined {
    const index = this.#inputs.length;
    const column = picks[0]?.rows.columns[index];
    return column === undefined ? undefined : arrayOf(gather(picks, index, column), picks.length);
  }

  #mix({
    feeds,
    labels,
    picks,
    key: { epoch, step },
  }: {
    readonly feeds: Readonly<Record<string, NdArray>>;
    readonly labels: NdArray;
    readonly picks: readonly Pick[];
    readonly key: BatchKey;
  }): TrainingBatch['mixed'] {
    if (this.#mixes.length === 0) return undefined;
    const random = (place: number): SeededRandom => keyedRandom(this.#seed, STREAM.batch, epoch, step, place);
    const choice = random(MIX_CHOICE);
    // With mixup and cutmix both, each batch takes one of them.
    const mix = this.#mixes[Math.floor(choice.uniform() * this.#mixes.length)];
    const partner = shuffle(
      Uint32Array.from(picks, (_, i) => i),
      choice,
    );
    const draw = {
      batch: random(mix?.place ?? 0),
      sample: (row: number) => keyedRandom(this.#seed, STREAM.sample, epoch, picks[row]?.sample ?? 0, mix?.place ?? 0),
    };
    const targets = this.#inputs.map((input) => mixTarget(input, feeds[input.plan.input.input], picks.length));
    const plan = mix?.mixing.apply(targets, partner, draw) ?? unmixed(partner);
    return {
      labels: permuted(labels, plan.partner),
      lambda: { type: 'float', dims: [picks.length], data: plan.lambda },
    };
  }
}

function makeInput(plan: ColumnPlan, column: Column, augment: readonly AugmentationObject[]): Input {
  const steps = imageSteps(augment, plan, column);
  if (!isSpatial(plan, column)) return { plan, column, steps, size: undefined, scratch: undefined };
  const [channels = 1, height = 1, width = 1] = column.dims.length === 2 ? [1, ...column.dims] : column.dims;
  const resized = steps.some(({ augmentation }) => augmentation.name === 'random-resized-crop');
  const size = { channels, ...(resized ? (plan.outputSize ?? { height, width }) : { height, width }) };
  const longest = channels * Math.max(height * width, size.height * size.width);
  const make = (): Planes => ({
    data: column.type === 'uint8' ? new Uint8Array(longest) : new Float32Array(longest),
    channels,
    height,
    width,
  });
  return { plan, column, steps, size, scratch: [make(), make()] };
}

function scratchOf(scratch: Planes, { channels, height, width }: Omit<Planes, 'data'>): Planes {
  return { data: scratch.data.subarray(0, channels * height * width), channels, height, width };
}

function planesOf(column: Column, row: number): Planes {
  const [channels = 1, height = 1, width = 1] = column.dims.length === 2 ? [1, ...column.dims] : column.dims;
  return { data: pixelData(column).subarray(row * column.length, (row + 1) * column.length), channels, height, width };
}

function pixelData({ data, type }: Column): PixelData {
  if (data instanceof Uint8Array || data instanceof Float32Array) return data;
  throw new CompressionError('INTERNAL', `images are kept as ${type}`);
}

function gather(picks: readonly Pick[], index: number, like: Column): Column {
  const batch = makeColumn(like.type, like.dims, picks.length);
  for (const [at, { rows, row }] of picks.entries()) {
    const source = rows.columns[index];
    if (source === undefined) continue;
    batch.bytes.set(source.bytes.subarray(row * source.rowBytes, (row + 1) * source.rowBytes), at * source.rowBytes);
  }
  return batch;
}

function arrayOf({ type, dims, data }: Column, rows: number): NdArray {
  return { type, dims: [rows, ...dims], data };
}

function finished({ finish }: ColumnPlan, batch: Column, rows: number): NdArray {
  const array = arrayOf(batch, rows);
  if (finish === undefined) return array;
  const fed = transformImages(array, finish);
  return finish.target === 'same' ? { ...fed, dims: array.dims } : fed;
}

function mixTarget(input: Input, array: NdArray | undefined, rows: number): MixTarget {
  const data = array?.data;
  if (!(data instanceof Float32Array) && !(data instanceof Float64Array)) {
    throw new CompressionError('INTERNAL', `${input.plan.input.input} cannot be mixed`);
  }
  const target = input.plan.finish?.target;
  const image: ImageGeometry | undefined =
    input.size === undefined ? undefined : { layout: target === 'nhwc' ? 'nhwc' : 'nchw', ...input.size };
  return { data, length: data.length / rows, image };
}

/** Row i of the result is row `order[i]`. */
function permuted(array: NdArray, order: Uint32Array): NdArray {
  if (array.type === 'string') return array;
  const rowBytes = array.data.byteLength / order.length;
  const source = new Uint8Array(array.data.buffer, array.data.byteOffset, array.data.byteLength);
  const bytes = new Uint8Array(source.length);
  for (const [at, row] of order.entries()) {
    bytes.set(source.subarray(row * rowBytes, (row + 1) * rowBytes), at * rowBytes);
  }
  return { ...array, data: viewAs(array.type, array.data.length, bytes) };
}
