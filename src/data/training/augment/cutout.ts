import { uniformInt } from '../keyed-random.ts';
import { copyPlanes, type ChannelFill, type ImageAugmentation, type Planes } from './planes.ts';

export interface CutoutOptions {
  /** Side of the square, in pixels. */
  readonly size: number;
  readonly holes: number;
  readonly probability: number;
  readonly fill: ChannelFill;
}

/**
 * Blanks squares whose centers are uniform over the image; what lies outside of it is cut off.
 * @see DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017
 */
export function cutout({ size, holes, probability, fill }: CutoutOptions): ImageAugmentation {
  return {
    name: 'cutout',
    pixelsOnly: false,
    apply(from, to, random) {
      copyPlanes(from, to);
      if (random.uniform() >= probability) return;
      for (let hole = 0; hole < holes; hole += 1) {
        const centerY = uniformInt(random, from.height);
        const centerX = uniformInt(random, from.width);
        blankSquare(to, { centerY, centerX, size, fill });
      }
    },
  };
}

/** Rows [centerY - size/2, centerY + size/2) and the columns likewise, as far as they are in the image. */
export function blankSquare(
  planes: Planes,
  square: { readonly centerY: number; readonly centerX: number; readonly size: number; readonly fill: ChannelFill },
): void {
  const { channels, height, width, data } = planes;
  const half = Math.floor(square.size / 2);
  const top = Math.max(0, square.centerY - half);
  const bottom = Math.min(height, square.centerY - half + square.size);
  const left = Math.max(0, square.centerX - half);
  const right = Math.min(width, square.centerX - half + square.size);
  for (let channel = 0; channel < channels; channel += 1) {
    const value = square.fill[channel] ?? 0;
    for (let y = top; y < bottom; y += 1) {
      const row = (channel * height + y) * width;
      for (let x = left; x < right; x += 1) data[row + x] = value;
    }
  }
}
