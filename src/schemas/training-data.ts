import { z } from 'zod';

const probability = z.number().min(0).max(1);
const pixelFill = z
  .union([z.literal('mean'), z.number().int().min(0).max(255)], {
    error: 'must be "mean" or a pixel value from 0 to 255',
  })
  .describe('A pixel value, or `mean`: the pixel that preprocessing turns into (almost) zero');
/** Largest change of a factor, or the interval it is drawn from. */
const factor = z
  .union([z.number().min(0), z.tuple([z.number().min(0), z.number().min(0)])], {
    error: 'must be a number from 0 (x: factors from 1 - x to 1 + x) or an interval [from, to]',
  })
  .refine((value) => typeof value === 'number' || value[0] <= value[1], 'from must not be above to');
const interval = (low: number, high: number) =>
  z
    .tuple([z.number().min(low).max(high), z.number().min(low).max(high)])
    .refine(([from, to]) => from <= to, 'from must not be above to');

export const AugmentationObject = z.discriminatedUnion('name', [
  z.strictObject({
    name: z.literal('crop'),
    padding: z.number().int().min(1).max(256).default(4).describe('Pixels added on each side before cutting'),
    mode: z.enum(['constant', 'edge', 'reflect']).default('constant'),
    fill: pixelFill.default(0).describe('With mode constant; 0 is what torchvision fills in'),
  }),
  z.strictObject({ name: z.literal('flip'), probability: probability.default(0.5) }),
  z.strictObject({
    name: z.literal('cutout'),
    size: z.number().int().min(1).max(1024).default(16).describe('Side of the square, pixels'),
    holes: z.number().int().min(1).max(64).default(1),
    probability: probability.default(1),
    fill: pixelFill.default('mean'),
  }),
  z.strictObject({
    name: z.literal('color-jitter'),
    brightness: factor.default(0.4),
    contrast: factor.default(0.4),
    saturation: factor.default(0.4),
    hue: z
      .union([z.number().min(0).max(0.5), interval(-0.5, 0.5)])
      .default(0)
      .describe('Turns of the colour circle'),
    probability: probability.default(1),
  }),
  z.strictObject({
    name: z.literal('random-resized-crop'),
    scale: interval(0.0001, 1).default([0.08, 1]).describe('Share of the area that is cut out'),
    ratio: interval(0.1, 10)
      .default([3 / 4, 4 / 3])
      .describe('Width over height of what is cut out'),
    source: z
      .strictObject({ height: z.number().int().min(1).max(8192), width: z.number().int().min(1).max(8192) })
      .optional()
      .describe('Size at which encoded images are decoded before cutting; default preprocess.resize'),
  }),
  z.strictObject({
    name: z.literal('rand-augment'),
    operations: z.number().int().min(1).max(10).default(2),
    magnitude: z.number().int().min(0).max(30).default(9),
    fill: z.number().int().min(0).max(255).default(0),
  }),
  z.strictObject({
    name: z.literal('mixup'),
    alpha: z.number().positive().max(100).default(0.2),
    probability: probability.default(1),
    per: z.enum(['batch', 'sample']).default('batch').describe('One share a batch, as in the paper, or one a sample'),
  }),
  z.strictObject({
    name: z.literal('cutmix'),
    alpha: z.number().positive().max(100).default(1),
    probability: probability.default(1),
    per: z.enum(['batch', 'sample']).default('batch'),
  }),
]);
export type AugmentationObject = z.infer<typeof AugmentationObject>;

/** Names that stand for an object with its defaults. */
export const AUGMENTATION_NAMES = [
  'crop4',
  'flip',
  'cutout',
  'color-jitter',
  'random-resized-crop',
  'rand-augment',
  'mixup',
  'cutmix',
] as const;

/** `training.augment`: names, or objects where other options are wanted. Applied in this order; mixing comes last. */
export const AugmentField = z
  .array(
    z.union([z.enum(AUGMENTATION_NAMES), AugmentationObject], {
      error: (issue) =>
        typeof issue.input === 'string'
          ? `there is no such augmentation; there are: ${AUGMENTATION_NAMES.join(', ')}`
          : 'must be the name of an augmentation or an object { "name": …, options }',
    }),
  )
  .max(16)
  .refine((list) => new Set(list.map(nameOf)).size === list.length, 'must not have the same augmentation twice')
  .describe('Applied in this order, before preprocessing; mixup and cutmix come last. See docs/augmentations.md');
export type AugmentField = z.infer<typeof AugmentField>;

function nameOf(item: AugmentationObject | (typeof AUGMENTATION_NAMES)[number]): string {
  const name = typeof item === 'string' ? item : item.name;
  return name === 'crop4' ? 'crop' : name;
}

/** The field with names replaced by objects. */
export function resolveAugmentations(field: AugmentField): AugmentationObject[] {
  return field.map((item) => {
    if (typeof item !== 'string') return item;
    return AugmentationObject.parse(item === 'crop4' ? { name: 'crop', padding: 4 } : { name: item });
  });
}
