import { CompressionError } from '../../../errors.ts';
import type { SeededRandom } from '../../seeded-random.ts';
import { uniformInt } from '../keyed-random.ts';
import { betaDraw } from './beta.ts';
import { drawPerRow, type BatchMixing, type ImageGeometry, type MixTarget } from './mixing.ts';
import type { MixupOptions } from './mixup.ts';

/** Rows [top, bottom) and columns [left, right). */
export interface Box {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

const NO_BOX: Box = { top: 0, bottom: 0, left: 0, right: 0 };

/**
 * Pastes a box of the partner into each image; the box covers 1 - lambda of the area, lambda from Beta(alpha, alpha),
 * its center uniform over the image, cut off at the border; the labels are mixed by the area that remained.
 * @see Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019
 */
export function cutmix({ alpha, probability, per }: MixupOptions): BatchMixing {
  return {
    name: 'cutmix',
    apply(targets, partner, draw) {
      const [target] = targets;
      const image = target?.image;
      if (target === undefined || image === undefined || targets.length !== 1) {
        throw new CompressionError('INTERNAL', 'cutmix was given something else than one input of images');
      }
      const boxes = drawPerRow(per, partner.length, draw, (random) =>
        random.uniform() < probability ? drawBox(image, betaDraw(alpha, random), random) : NO_BOX,
      );
      pasteBoxes(target, image, { partner, boxes });
      const area = image.height * image.width;
      const lambda = Float32Array.from(boxes, (box) => 1 - ((box.bottom - box.top) * (box.right - box.left)) / area);
      return { partner, lambda };
    },
  };
}

export function drawBox({ height, width }: ImageGeometry, lambda: number, random: SeededRandom): Box {
  const side = Math.sqrt(1 - lambda);
  const halfHeight = Math.floor(Math.floor(height * side) / 2);
  const halfWidth = Math.floor(Math.floor(width * side) / 2);
  const centerX = uniformInt(random, width);
  const centerY = uniformInt(random, height);
  return {
    top: Math.max(0, centerY - halfHeight),
    bottom: Math.min(height, centerY + halfHeight),
    left: Math.max(0, centerX - halfWidth),
    right: Math.min(width, centerX + halfWidth),
  };
}

/** O(area of the boxes) time, a copy of the batch. */
export function pasteBoxes(
  { data, length }: MixTarget,
  { layout, channels, height, width }: ImageGeometry,
  { partner, boxes }: { readonly partner: Uint32Array; readonly boxes: readonly Box[] },
): void {
  const original = data.slice();
  // An image is lines of `lineLength` values, `planes` times `height` of them.
  const [planes, pixel] = layout === 'nchw' ? [channels, 1] : [1, channels];
  const lineLength = width * pixel;
  for (const [row, box] of boxes.entries()) {
    const own = row * length;
    const other = (partner[row] ?? row) * length;
    for (let plane = 0; plane < planes; plane += 1) {
      for (let y = box.top; y < box.bottom; y += 1) {
        const line = (plane * height + y) * lineLength;
        for (let i = line + box.left * pixel; i < line + box.right * pixel; i += 1) {
          data[own + i] = original[other + i] ?? 0;
        }
      }
    }
  }
}
