import { CompressionError } from '../errors.ts';
import { allocate, type NdArray, type NumericArray } from '../onnx/nd-array.ts';
import { floatWriter } from './convert-array.ts';
import type { ImageSize } from './dataset.ts';
import { resizePixels } from './image-resize.ts';
import type { NumericType } from './npy-header.ts';

/** `x = (pixel * scale - mean) / std`, per channel in the order the model has them; `layout` is the model input's. */
export interface Preprocess {
  readonly scale: number;
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  readonly layout: 'nchw' | 'nhwc';
  readonly channelOrder: 'rgb' | 'bgr';
  readonly resize: ImageSize | null;
}

/** `nhw` has no channel axis. */
export type ImageLayout = 'nchw' | 'nhwc' | 'nhw';

export interface ImagePlan {
  readonly source: ImageLayout;
  /** `same`: the array has no channel axis and keeps its shape. */
  readonly target: 'nchw' | 'nhwc' | 'same';
  readonly channels: number;
  readonly type: NumericType;
  readonly reverseChannels: boolean;
  readonly resize: ImageSize | undefined;
  /** Per model channel: what each of the 256 pixel values becomes. */
  readonly tables: readonly NumericArray[];
}

/**
 * One table of 256 values a channel: the formula is computed in double precision, once, and rounded once to the type.
 * @throws CompressionError DATASET_SHAPE when mean or std have another number of values than there are channels
 */
export function pixelTables(preprocess: Preprocess, channels: number, type: NumericType): NumericArray[] {
  const mean = perChannel(preprocess.mean, channels, 'mean');
  const std = perChannel(preprocess.std, channels, 'std');
  const write = floatWriter(type);
  return Array.from({ length: channels }, (_, channel) => {
    const table = allocate(type, 256);
    for (let pixel = 0; pixel < 256; pixel += 1) {
      table[pixel] = write((pixel * preprocess.scale - (mean[channel] ?? 0)) / (std[channel] ?? 1));
    }
    return table;
  });
}

function perChannel(values: number | readonly number[], channels: number, what: string): readonly number[] {
  const list = typeof values === 'number' ? [values] : values;
  if (list.length === 1) return new Array<number>(channels).fill(list[0] ?? 0);
  if (list.length === channels) return list;
  throw new CompressionError(
    'DATASET_SHAPE',
    `preprocess.${what} has ${list.length} values, the model input has ${channels} channels; give one value, or ${channels}, and check preprocess.layout`,
  );
}

/** A batch of uint8 images as the model takes them. O(values) time, one array of the result's size. */
export function transformImages(array: NdArray, plan: ImagePlan): NdArray {
  const sized = plan.resize === undefined ? array : resizeBatch(array, plan.source, plan.resize);
  const layout = plan.resize === undefined ? plan.source : 'nhwc';
  const [count, height, width] = imageSize(sized, layout);
  const { channels } = plan;
  const pixels = height * width;
  const perImage = channels * pixels;
  const target = allocate(plan.type, count * perImage);
  const from = sized.data;
  if (!(from instanceof Uint8Array)) throw new CompressionError('INTERNAL', 'images are not uint8');
  const [sourceChannel, sourcePixel] = layout === 'nchw' ? [pixels, 1] : [1, channels];
  const [targetChannel, targetPixel] = plan.target === 'nchw' ? [pixels, 1] : [1, channels];
  for (const [channel, table] of plan.tables.entries()) {
    const sourceIndex = plan.reverseChannels ? channels - 1 - channel : channel;
    for (let image = 0; image < count; image += 1) {
      copyPlane(from, target, table, {
        pixels,
        source: image * perImage + sourceIndex * sourceChannel,
        sourcePixel,
        target: image * perImage + channel * targetChannel,
        targetPixel,
      });
    }
  }
  const dims = { nchw: [count, channels, height, width], nhwc: [count, height, width, channels], same: array.dims };
  return { type: plan.type, dims: dims[plan.target], data: target };
}

interface Plane {
  readonly pixels: number;
  readonly source: number;
  readonly sourcePixel: number;
  readonly target: number;
  readonly targetPixel: number;
}

function copyPlane(from: Uint8Array, to: NumericArray, table: NumericArray, plane: Plane): void {
  // The float case apart: one kind of array at the loop keeps it fast.
  if (to instanceof Float32Array && table instanceof Float32Array) copyFloatPlane(from, to, table, plane);
  else {
    let { source, target } = plane;
    for (let i = 0; i < plane.pixels; i += 1) {
      const value = table[from[source] ?? 0];
      if (value !== undefined) to[target] = value;
      source += plane.sourcePixel;
      target += plane.targetPixel;
    }
  }
}

function copyFloatPlane(from: Uint8Array, to: Float32Array, table: Float32Array, plane: Plane): void {
  const { pixels, sourcePixel, targetPixel } = plane;
  let { source, target } = plane;
  for (let i = 0; i < pixels; i += 1) {
    to[target] = table[from[source] ?? 0] ?? 0;
    source += sourcePixel;
    target += targetPixel;
  }
}

function imageSize(array: NdArray, layout: ImageLayout): [count: number, height: number, width: number] {
  const [count = 0, a = 1, b = 1, c = 1] = array.dims;
  return layout === 'nchw' ? [count, b, c] : [count, a, b];
}

function resizeBatch(array: NdArray, layout: ImageLayout, size: ImageSize): NdArray {
  const [count, height, width] = imageSize(array, layout);
  const from = array.data;
  if (!(from instanceof Uint8Array)) throw new CompressionError('INTERNAL', 'images are not uint8');
  const perImage = count === 0 ? 0 : from.length / count;
  const channels = perImage / (height * width);
  const target = new Uint8Array(count * size.height * size.width * channels);
  for (let image = 0; image < count; image += 1) {
    const source = from.subarray(image * perImage, (image + 1) * perImage);
    const data = layout === 'nchw' ? interleave(source, channels, height * width) : source;
    const resized = resizePixels({ height, width, channels, data }, size);
    target.set(resized.data, image * size.height * size.width * channels);
  }
  return { type: 'uint8', dims: [count, size.height, size.width, channels], data: target };
}

function interleave(planes: Uint8Array, channels: number, pixels: number): Uint8Array {
  const result = new Uint8Array(planes.length);
  for (let channel = 0; channel < channels; channel += 1) {
    for (let pixel = 0; pixel < pixels; pixel += 1) {
      result[pixel * channels + channel] = planes[channel * pixels + pixel] ?? 0;
    }
  }
  return result;
}
