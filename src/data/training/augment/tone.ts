import { CompressionError } from '../../../errors.ts';
import type { Planes } from './planes.ts';

/*
 * Operations on 8-bit images with Pillow's arithmetic (roundings included), since recipes of the field were tuned on
 * it: ImageEnhance, ImageOps and Image.convert as of Pillow 11.
 */

export function pixelsOf(planes: Planes): Uint8Array {
  if (planes.data instanceof Uint8Array) return planes.data;
  throw new CompressionError('INTERNAL', 'an operation on 8-bit pixels was given floats');
}

/** The mix of a and b at `factor`: 0 is a, 1 is b; beyond them the difference is carried on, and clipped. */
function mixPixel(a: number, b: number, factor: number): number {
  // Single precision at each step, as in the C of Image.blend.
  const value = Math.fround(a + Math.fround(factor * (b - a)));
  // Truncated, as Image.blend does; the clip makes no difference between 0 and 1.
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
}

/** ImageEnhance.Brightness: 0 is black, 1 the image. */
export function adjustBrightness(from: Planes, to: Planes, factor: number): void {
  blendWithConstant(from, to, { constant: 0, factor });
}

/** ImageEnhance.Contrast: 0 is the image's mean grey, 1 the image. */
export function adjustContrast(from: Planes, to: Planes, factor: number): void {
  const pixels = from.height * from.width;
  let sum = 0;
  for (let i = 0; i < pixels; i += 1) sum += greyAt(from, i);
  blendWithConstant(from, to, { constant: Math.floor(sum / pixels + 0.5), factor });
}

/** ImageEnhance.Color: 0 is grey, 1 the image. Grey images stay as they are. */
export function adjustSaturation(from: Planes, to: Planes, factor: number): void {
  const source = pixelsOf(from);
  const target = pixelsOf(to);
  const pixels = from.height * from.width;
  if (from.channels !== 3) {
    target.set(source);
    return;
  }
  const weight = Math.fround(factor);
  for (let i = 0; i < pixels; i += 1) {
    const grey = greyAt(from, i);
    for (let at = i; at < 3 * pixels; at += pixels) target[at] = mixPixel(grey, source[at] ?? 0, weight);
  }
}

/** ImageEnhance.Sharpness: 0 is smoothed, 1 the image. */
export function adjustSharpness(from: Planes, to: Planes, factor: number): void {
  const { channels, height, width } = from;
  const source = pixelsOf(from);
  const target = pixelsOf(to);
  const weight = Math.fround(factor);
  target.set(source);
  for (let channel = 0; channel < channels; channel += 1) {
    for (let y = 1; y < height - 1; y += 1) {
      const row = (channel * height + y) * width;
      for (let x = row + 1; x < row + width - 1; x += 1) {
        const center = source[x] ?? 0;
        let sum = 4 * center;
        for (let line = x - width; line <= x + width; line += width) {
          sum += (source[line - 1] ?? 0) + (source[line] ?? 0) + (source[line + 1] ?? 0);
        }
        // The 13th part, rounded; it is never half way between two integers.
        const smooth = Math.floor((2 * sum + 13) / 26);
        target[x] = mixPixel(smooth, center, weight);
      }
    }
  }
}

/** ImageOps.posterize: keeps the highest `bits` bits. */
export function posterize(from: Planes, to: Planes, bits: number): void {
  const mask = 0xff & ~((1 << (8 - bits)) - 1);
  mapPixels(from, to, (pixel) => pixel & mask);
}

/** ImageOps.solarize: inverts pixels from `threshold` on. */
export function solarize(from: Planes, to: Planes, threshold: number): void {
  mapPixels(from, to, (pixel) => (pixel < threshold ? pixel : 255 - pixel));
}

/** ImageOps.autocontrast: stretches each channel to 0..255. */
export function autoContrast(from: Planes, to: Planes): void {
  mapByHistogram(from, to, (histogram) => {
    const low = histogram.findIndex((count) => count > 0);
    const high = histogram.findLastIndex((count) => count > 0);
    if (high <= low) return undefined;
    const scale = 255 / (high - low);
    const offset = -low * scale;
    return Uint8ClampedArray.from(histogram, (_, pixel) => Math.trunc(pixel * scale + offset));
  });
}

/** ImageOps.equalize: each channel's histogram made flat. */
export function equalize(from: Planes, to: Planes): void {
  mapByHistogram(from, to, (histogram) => {
    const used = histogram.filter((count) => count > 0);
    const total = used.reduce((sum, count) => sum + count, 0);
    const step = Math.floor((total - (used.at(-1) ?? 0)) / 255);
    if (used.length <= 1 || step === 0) return undefined;
    let before = Math.floor(step / 2);
    return Uint8ClampedArray.from(histogram, (count) => {
      const level = Math.floor(before / step);
      before += count;
      return level;
    });
  });
}

/** ITU-R 601 luma of pixel `i`, in Pillow's fixed point. */
function greyAt(planes: Planes, i: number): number {
  if (planes.channels !== 3) return planes.data[i] ?? 0;
  const pixels = planes.height * planes.width;
  const red = planes.data[i] ?? 0;
  const green = planes.data[i + pixels] ?? 0;
  const blue = planes.data[i + 2 * pixels] ?? 0;
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

function blendWithConstant(
  from: Planes,
  to: Planes,
  { constant, factor }: { readonly constant: number; readonly factor: number },
): void {
  const weight = Math.fround(factor);
  mapPixels(from, to, (pixel) => mixPixel(constant, pixel, weight));
}

/** O(256 + pixels). */
function mapPixels(from: Planes, to: Planes, map: (pixel: number) => number): void {
  const table = Uint8Array.from({ length: 256 }, (_, pixel) => map(pixel));
  const source = pixelsOf(from);
  const target = pixelsOf(to);
  for (let i = 0; i < source.length; i += 1) target[i] = table[source[i] ?? 0] ?? 0;
}

function mapByHistogram(
  from: Planes,
  to: Planes,
  makeTable: (histogram: readonly number[]) => Uint8ClampedArray | undefined,
): void {
  const source = pixelsOf(from);
  const target = pixelsOf(to);
  const pixels = from.height * from.width;
  for (let channel = 0; channel < from.channels; channel += 1) {
    const histogram = new Array<number>(256).fill(0);
    const plane = source.subarray(channel * pixels, (channel + 1) * pixels);
    for (const pixel of plane) histogram[pixel] = (histogram[pixel] ?? 0) + 1;
    const table = makeTable(histogram);
    for (let i = 0; i < pixels; i += 1) {
      const pixel = plane[i] ?? 0;
      target[channel * pixels + i] = table === undefined ? pixel : (table[pixel] ?? 0);
    }
  }
}
