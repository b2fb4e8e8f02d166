import { CompressionError } from '../errors.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { Batch, BatchOptions, Dataset, DatasetInfo, ImageRequest } from './dataset.ts';
import { DECODE_PARALLELISM, decodeImage } from './image-codec.ts';
import { sortIntoClasses, type LabelledImage } from './image-folders.ts';
import type { Pixels } from './image-resize.ts';
import type { DataLimits } from './limits.ts';
import { sampleWindow } from './sample-window.ts';

const DEFAULT_REQUEST: ImageRequest = { channels: 3 };

/** What an archive gives: its files, and a way to read each. */
export interface ImageArchive<Member extends { readonly name: string; readonly bytes: number }> {
  readonly kind: 'zip-images' | 'tar-images';
  readonly members: readonly Member[];
  read(member: Member): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A data set of images in class folders: `images` uint8 [N, H, W, C] and `labels` int64 [N]. */
export function openImages<Member extends { readonly name: string; readonly bytes: number }>(
  archive: ImageArchive<Member>,
  limits: DataLimits,
): Dataset {
  return new ImageDataset(archive, limits);
}

class ImageDataset<Member extends { readonly name: string; readonly bytes: number }> implements Dataset {
  readonly info: DatasetInfo;
  readonly #archive: ImageArchive<Member>;
  readonly #images: readonly LabelledImage<Member>[];
  readonly #limits: DataLimits;

  constructor(archive: ImageArchive<Member>, limits: DataLimits) {
    const { classes, images, ignoredEntries } = sortIntoClasses(archive.members);
    this.#archive = archive;
    this.#images = images;
    this.#limits = limits;
    this.info = { kind: archive.kind, samples: images.length, classes, images: 'images', ignoredEntries };
  }

  async *batches(options: BatchOptions): AsyncGenerator<Batch> {
    const { from, to } = sampleWindow(options, this.#images.length);
    const names = options.names ?? ['images', 'labels'];
    const unknown = names.find((name) => name !== 'images' && name !== 'labels');
    if (unknown !== undefined) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `The data set has no array ${unknown}; image folders have images and labels`,
      );
    }
    const stack = new ImageStack();
    for (let at = from; at < to; at += options.batchSize) {
      const part = this.#images.slice(at, Math.min(to, at + options.batchSize));
      const entries: [string, NdArray][] = [];
      if (names.includes('images')) {
        const decoded = await inParallel(part, ({ member }) => this.#decode(member, options.images ?? DEFAULT_REQUEST));
        entries.push([
          'images',
          stack.add(
            decoded,
            part.map(({ member }) => member.name),
          ),
        ]);
      }
      if (names.includes('labels')) {
        const data = BigInt64Array.from(part, ({ label }) => BigInt(label));
        entries.push(['labels', { type: 'int64', dims: [part.length], data }]);
      }
      yield { from: at, count: part.length, arrays: Object.fromEntries(entries) };
    }
  }

  close(): Promise<void> {
    return this.#archive.close();
  }

  async #decode(member: Member, request: ImageRequest): Promise<Pixels> {
    if (member.bytes > this.#limits.maxImageBytes) {
      throw new CompressionError(
        'DATASET_LIMIT',
        `Image ${member.name} has ${member.bytes} bytes, at most ${this.#limits.maxImageBytes} are read`,
      );
    }
    return decodeImage(await this.#archive.read(member), member.name, request, this.#limits.maxImagePixels);
  }
}

/** Puts decoded images of one size into one array; remembers the size from batch to batch. */
export class ImageStack {
  #first: { readonly name: string; readonly size: string } | undefined;

  /** @throws CompressionError DATASET_SHAPE for an image of another size, naming both */
  add(images: readonly Pixels[], names: readonly string[]): NdArray {
    const [{ height, width, channels } = { height: 0, width: 0, channels: 0 }] = images;
    const perImage = height * width * channels;
    const data = new Uint8Array(perImage * images.length);
    for (const [i, image] of images.entries()) {
      const size = `${image.height}x${image.width}`;
      const name = names[i] ?? '';
      this.#first ??= { name, size };
      if (size !== this.#first.size) {
        throw new CompressionError(
          'DATASET_SHAPE',
          `Image ${this.#first.name} is ${this.#first.size} (height x width), image ${name} is ${size}; set preprocess.resize`,
        );
      }
      data.set(image.data, i * perImage);
    }
    return { type: 'uint8', dims: [images.length, height, width, channels], data };
  }
}

/** Maps with at most DECODE_PARALLELISM at work; the results in order. Stops at the first error. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const queue = items.entries();
  let failed = false;
  const lane = async (): Promise<void> => {
    for (const [index, item] of queue) {
      if (failed) return;
      try {
        results[index] = await work(item, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(DECODE_PARALLELISM, items.length) }, lane));
  return results;
}
