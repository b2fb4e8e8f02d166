import { resizePixels } from '../../image-resize.ts';
import type { SeededRandom } from '../../seeded-random.ts';
import { uniformIn, uniformInt } from '../keyed-random.ts';
import type { ImageAugmentation, Planes } from './planes.ts';
import { pixelsOf } from './tone.ts';

export interface ResizedCropOptions {
  /** Share of the image's area. */
  readonly scale: readonly [number, number];
  /** Width over height. */
  readonly ratio: readonly [number, number];
}

export interface CropBox {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

const TRIES = 10;

/**
 * Cuts out a box of random area and shape and resizes it to the size of `to` (triangle filter with antialiasing).
 * @see Szegedy et al., "Going Deeper with Convolutions", 2014, section 6; torchvision RandomResizedCrop
 */
export function randomResizedCrop(options: ResizedCropOptions): ImageAugmentation {
  return {
    name: 'random-resized-crop',
    pixelsOnly: true,
    apply(from, to, random) {
      cropAndResize(from, to, drawCrop(from, options, random));
    },
  };
}

/** Ten tries at a box that fits; else the largest centered one whose shape is in the interval. */
export function drawCrop(
  { height, width }: { readonly height: number; readonly width: number },
  { scale, ratio }: ResizedCropOptions,
  random: SeededRandom,
): CropBox {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const area = height * width * uniformIn(random, scale[0], scale[1]);
    const shape = Math.exp(uniformIn(random, Math.log(ratio[0]), Math.log(ratio[1])));
    const boxWidth = Math.round(Math.sqrt(area * shape));
    const boxHeight = Math.round(Math.sqrt(area / shape));
    if (boxWidth < 1 || boxHeight < 1 || boxWidth > width || boxHeight > height) continue;
    const top = uniformInt(random, height - boxHeight + 1);
    const left = uniformInt(random, width - boxWidth + 1);
    return { top, left, height: boxHeight, width: boxWidth };
  }
  const shape = width / height;
  const boxHeight = shape < ratio[0] ? Math.max(1, Math.round(width / ratio[0])) : height;
  const boxWidth = shape > ratio[1] ? Math.max(1, Math.round(height * ratio[1])) : width;
  return {
    top: Math.floor((height - boxHeight) / 2),
    left: Math.floor((width - boxWidth) / 2),
    height: boxHeight,
    width: boxWidth,
  };
}

export function cropAndResize(from: Planes, to: Planes, box: CropBox): void {
  const source = pixelsOf(from);
  const target = pixelsOf(to);
  const cut = new Uint8Array(box.height * box.width);
  for (let channel = 0; channel < from.channels; channel += 1) {
    for (let y = 0; y < box.height; y += 1) {
      const row = (channel * from.height + box.top + y) * from.width + box.left;
      cut.set(source.subarray(row, row + box.width), y * box.width);
    }
    const resized = resizePixels(
      { height: box.height, width: box.width, channels: 1, data: cut },
      { height: to.height, width: to.width, fit: 'fill' },
    );
    target.set(resized.data, channel * to.height * to.width);
  }
}
