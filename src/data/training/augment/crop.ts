import { uniformInt } from '../keyed-random.ts';
import type { ChannelFill, ImageAugmentation, Planes } from './planes.ts';

export type CropBorder =
  { readonly mode: 'constant'; readonly fill: ChannelFill } | { readonly mode: 'edge' | 'reflect' };

/**
 * Pads an image on all sides and cuts a window of its own size out of it at a random place.
 * @param padding - pixels on each side; a window starts at 0..2 * padding in both directions
 * @see torchvision RandomCrop(size, padding); He et al., "Deep Residual Learning", 2015, section 4.2
 */
export function randomCrop(padding: number, border: CropBorder): ImageAugmentation {
  return {
    name: 'crop',
    pixelsOnly: false,
    apply(from, to, random) {
      const top = uniformInt(random, 2 * padding + 1);
      const left = uniformInt(random, 2 * padding + 1);
      shiftPlanes(from, to, { down: padding - top, right: padding - left, border });
    },
  };
}

/** The image moved by (`down`, `right`) pixels, what comes in from outside by `border`. */
export function shiftPlanes(
  from: Planes,
  to: Planes,
  { down, right, border }: { readonly down: number; readonly right: number; readonly border: CropBorder },
): void {
  if (border.mode === 'constant') shiftConstant(from, to, { down, right, fill: border.fill });
  else shiftMirrored(from, to, { down, right, place: border.mode === 'edge' ? clamp : reflect });
}

function shiftConstant(
  from: Planes,
  to: Planes,
  { down, right, fill }: { readonly down: number; readonly right: number; readonly fill: ChannelFill },
): void {
  const { channels, height, width } = from;
  const source = from.data;
  const target = to.data;
  const first = Math.min(width, Math.max(0, right));
  const end = Math.max(first, Math.min(width, width + right));
  for (let channel = 0; channel < channels; channel += 1) {
    const outside = fill[channel] ?? 0;
    for (let y = 0; y < height; y += 1) {
      const row = (channel * height + y) * width;
      const sourceY = y - down;
      if (sourceY < 0 || sourceY >= height) {
        for (let x = 0; x < width; x += 1) target[row + x] = outside;
        continue;
      }
      const sourceRow = (channel * height + sourceY) * width - right;
      for (let x = 0; x < first; x += 1) target[row + x] = outside;
      for (let x = first; x < end; x += 1) target[row + x] = source[sourceRow + x] ?? 0;
      for (let x = end; x < width; x += 1) target[row + x] = outside;
    }
  }
}

function shiftMirrored(
  from: Planes,
  to: Planes,
  {
    down,
    right,
    place,
  }: { readonly down: number; readonly right: number; readonly place: (at: number, size: number) => number },
): void {
  const { channels, height, width } = from;
  for (let channel = 0; channel < channels; channel += 1) {
    for (let y = 0; y < height; y += 1) {
      const row = (channel * height + y) * width;
      const sourceRow = (channel * height + place(y - down, height)) * width;
      for (let x = 0; x < width; x += 1) to.data[row + x] = from.data[sourceRow + place(x - right, width)] ?? 0;
    }
  }
}

function clamp(at: number, size: number): number {
  return Math.min(size - 1, Math.max(0, at));
}

/** Mirrored at the border pixel, which is not repeated (numpy's `reflect`). */
function reflect(at: number, size: number): number {
  if (size === 1) return 0;
  const period = 2 * (size - 1);
  const inside = ((at % period) + period) % period;
  return inside < size ? inside : period - inside;
}
