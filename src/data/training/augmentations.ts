import { CompressionError } from '../../errors.ts';
import type { AugmentationObject } from '../../schemas/training-data.ts';
import { shapeText } from '../feed-plan.ts';
import { colorJitter } from './augment/color-jitter.ts';
import { randomCrop } from './augment/crop.ts';
import { cutmix } from './augment/cutmix.ts';
import { cutout } from './augment/cutout.ts';
import { randomFlip } from './augment/flip.ts';
import type { BatchMixing } from './augment/mixing.ts';
import { mixup } from './augment/mixup.ts';
import type { ChannelFill, ImageAugmentation } from './augment/planes.ts';
import { randAugment } from './augment/rand-augment.ts';
import { randomResizedCrop } from './augment/random-resized-crop.ts';
import type { ColumnPlan } from './bind-columns.ts';
import type { Column } from './rows.ts';

/** One image augmentation of the list, and the place there that its random numbers are keyed by. */
export interface ImageStep {
  readonly place: number;
  readonly augmentation: ImageAugmentation;
}

export interface MixStep {
  readonly place: number;
  readonly mixing: BatchMixing;
}

/**
 * The image steps for one input; none when it is not an image.
 * @throws CompressionError DATASET_SHAPE for 8-bit operations on floats
 */
export function imageSteps(list: readonly AugmentationObject[], plan: ColumnPlan, column: Column): ImageStep[] {
  if (!isSpatial(plan, column)) return [];
  const floats = column.type !== 'uint8';
  const steps: ImageStep[] = [];
  for (const [place, options] of list.entries()) {
    const augmentation = imageAugmentation(options, plan, column);
    if (augmentation === undefined) continue;
    if (floats && augmentation.pixelsOnly) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `augment: ${augmentation.name} works on 8-bit pixels, array ${plan.input.array} for model input ${plan.input.input} is ${column.type}; store the images as uint8 and set preprocess, or leave ${augmentation.name} out`,
      );
    }
    steps.push({ place, augmentation });
  }
  return steps;
}

/** Mixing steps; at most one of each kind. */
export function mixSteps(list: readonly AugmentationObject[]): MixStep[] {
  return list.flatMap((options, place): MixStep[] => {
    if (options.name === 'mixup') return [{ place, mixing: mixup(options) }];
    return options.name === 'cutmix' ? [{ place, mixing: cutmix(options) }] : [];
  });
}

/** Whether rows of the column are [channels, height, width]. */
export function isSpatial(plan: ColumnPlan, column: Column): boolean {
  if (plan.finish !== undefined) return plan.finish.target !== 'same' || column.dims.length === 2;
  return column.type === 'float' && column.dims.length === 3;
}

/**
 * Refuses augmentations that could never do anything, or could not be done, before anything is read.
 * @throws CompressionError DATASET_SHAPE
 */
export function checkAugmentations(
  list: readonly AugmentationObject[],
  inputs: readonly { readonly plan: ColumnPlan; readonly column: Column }[],
  hasLabels: boolean,
): void {
  const image = inputs.filter(({ plan, column }) => isSpatial(plan, column));
  const described = inputs
    .map(({ plan, column }) => `${plan.input.input} (${plan.input.type} ${shapeText([null, ...column.dims])})`)
    .join(', ');
  for (const { name } of list) {
    if (name === 'mixup' || name === 'cutmix') {
      const odd = inputs.find(({ plan }) => plan.input.type !== 'float' && plan.input.type !== 'double');
      if (odd !== undefined) {
        throw new CompressionError(
          'DATASET_SHAPE',
          `augment: ${name} mixes float inputs, model input ${odd.plan.input.input} takes ${odd.plan.input.type}; leave ${name} out`,
        );
      }
      if (!hasLabels) {
        throw new CompressionError(
          'DATASET_LABELS',
          `augment: ${name} mixes labels, the data set has none; name the array with data.training.labels, or leave ${name} out`,
        );
      }
      if (name === 'mixup' || (image.length === 1 && inputs.length === 1)) continue;
    } else if (image.length > 0) continue;
    throw new CompressionError(
      'DATASET_SHAPE',
      `augment: ${name} needs ${name === 'cutmix' ? 'one input, of images' : 'an input of images'} [N, channels, height, width]; the inputs are ${described}`,
    );
  }
}

function imageAugmentation(
  options: AugmentationObject,
  plan: ColumnPlan,
  column: Column,
): ImageAugmentation | undefined {
  switch (options.name) {
    case 'crop': {
      const { mode, padding } = options;
      return randomCrop(padding, mode === 'constant' ? { mode, fill: fillOf(options.fill, plan, column) } : { mode });
    }
    case 'flip':
      return randomFlip(options.probability);
    case 'cutout':
      return cutout({ ...options, fill: fillOf(options.fill, plan, column) });
    case 'color-jitter':
      return colorJitter(options);
    case 'random-resized-crop':
      return randomResizedCrop(options);
    case 'rand-augment':
      return randAugment(options);
    case 'mixup':
    case 'cutmix':
      return undefined;
  }
}

/** The fill per channel of the stored image. `mean`: what preprocessing turns into the value nearest to 0. */
function fillOf(fill: number | 'mean', plan: ColumnPlan, column: Column): ChannelFill {
  const channels = column.dims.length === 3 ? (column.dims[0] ?? 1) : 1;
  if (fill !== 'mean') return new Array<number>(channels).fill(fill);
  const { finish } = plan;
  // Floats come preprocessed: 0 is their mean.
  if (finish === undefined) return new Array<number>(channels).fill(0);
  // 16-bit floats are kept as their bits: without the sign these are in the order of the magnitudes.
  const half = finish.type === 'float16' || finish.type === 'bfloat16';
  const magnitude = (value: number): number => (half ? value & 0x7fff : Math.abs(value));
  const perModelChannel = finish.tables.map((table) => {
    let nearest = 0;
    for (let pixel = 1; pixel < 256; pixel += 1) {
      if (magnitude(Number(table[pixel])) < magnitude(Number(table[nearest]))) nearest = pixel;
    }
    return nearest;
  });
  return finish.reverseChannels ? perModelChannel.reverse() : perModelChannel;
}
