import { uniformInt } from '../keyed-random.ts';
import { affineNearest, rotationMap } from './affine.ts';
import { copyPlanes, type ImageAugmentation, type Planes } from './planes.ts';
import {
  adjustBrightness,
  adjustContrast,
  adjustSaturation,
  adjustSharpness,
  autoContrast,
  equalize,
  posterize,
  solarize,
} from './tone.ts';

export interface RandAugmentOptions {
  /** Operations an image. */
  readonly operations: number;
  /** 0..30; 0 changes (almost) nothing. */
  readonly magnitude: number;
  readonly fill: number;
}

/** @param level - signed magnitude in units of the operation */
type Operation = (from: Planes, to: Planes, level: number, fill: number) => void;

interface OperationRow {
  readonly name: string;
  /** The level at strength 0..1, for an image of this size. */
  level(strength: number, image: Planes): number;
  /** The level's sign is drawn too. */
  readonly signed: boolean;
  readonly run: Operation;
}

/** The most of the image's side that a translation moves it by (torchvision; 150 pixels of 331 in the paper). */
const TRANSLATE_SHARE = 150 / 331;

/** torchvision's fourteen operations and ranges; all equally likely. */
export const RAND_AUGMENT_OPERATIONS: readonly OperationRow[] = [
  { name: 'identity', level: () => 0, signed: false, run: (from, to) => copyPlanes(from, to) },
  { name: 'shear-x', level: (strength) => 0.3 * strength, signed: true, run: shearX },
  { name: 'shear-y', level: (strength) => 0.3 * strength, signed: true, run: shearY },
  { name: 'translate-x', level: (strength, { width }) => TRANSLATE_SHARE * width * strength, signed: true, run: moveX },
  {
    name: 'translate-y',
    level: (strength, { height }) => TRANSLATE_SHARE * height * strength,
    signed: true,
    run: moveY,
  },
  { name: 'rotate', level: (strength) => 30 * strength, signed: true, run: rotate },
  { name: 'brightness', level: (strength) => 0.9 * strength, signed: true, run: tone(adjustBrightness) },
  { name: 'color', level: (strength) => 0.9 * strength, signed: true, run: tone(adjustSaturation) },
  { name: 'contrast', level: (strength) => 0.9 * strength, signed: true, run: tone(adjustContrast) },
  { name: 'sharpness', level: (strength) => 0.9 * strength, signed: true, run: tone(adjustSharpness) },
  { name: 'posterize', level: (strength) => 8 - Math.round(4 * strength), signed: false, run: posterize },
  { name: 'solarize', level: (strength) => 255 * (1 - strength), signed: false, run: solarize },
  { name: 'auto-contrast', level: () => 0, signed: false, run: (from, to) => autoContrast(from, to) },
  { name: 'equalize', level: () => 0, signed: false, run: (from, to) => equalize(from, to) },
];

const MAX_MAGNITUDE = 30;

/**
 * Applies `operations` operations, each drawn from fourteen, all at one magnitude.
 * @see Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", 2019
 */
export function randAugment({ operations, magnitude, fill }: RandAugmentOptions): ImageAugmentation {
  const strength = magnitude / MAX_MAGNITUDE;
  return {
    name: 'rand-augment',
    pixelsOnly: true,
    apply(from, to, random) {
      let current = from;
      for (let i = 0; i < operations; i += 1) {
        const row = RAND_AUGMENT_OPERATIONS[uniformInt(random, RAND_AUGMENT_OPERATIONS.length)];
        const negative = random.uniform() < 0.5;
        if (row === undefined) continue;
        const level = row.level(strength, from);
        // The operations do not all work in place, so every further one works on a copy.
        if (i > 0) current = { ...to, data: to.data.slice() };
        row.run(current, to, row.signed && negative ? -level : level, fill);
      }
    },
  };
}

function shearX(from: Planes, to: Planes, level: number, fill: number): void {
  affineNearest(from, to, [1, level, 0, 0, 1, 0], fill);
}

function shearY(from: Planes, to: Planes, level: number, fill: number): void {
  affineNearest(from, to, [1, 0, 0, level, 1, 0], fill);
}

function moveX(from: Planes, to: Planes, level: number, fill: number): void {
  affineNearest(from, to, [1, 0, -Math.trunc(level), 0, 1, 0], fill);
}

function moveY(from: Planes, to: Planes, level: number, fill: number): void {
  affineNearest(from, to, [1, 0, 0, 0, 1, -Math.trunc(level)], fill);
}

function rotate(from: Planes, to: Planes, level: number, fill: number): void {
  affineNearest(from, to, rotationMap(level, from.height, from.width), fill);
}

function tone(adjust: (from: Planes, to: Planes, factor: number) => void): Operation {
  return (from, to, level) => adjust(from, to, 1 + level);
}
