import { elementCount } from '../../onnx/nd-array.ts';
import { at, type Window } from './window.ts';

/** A convolution with every size: X [batch, channels, input], W [maps, channels/group, kernel], Y [batch, maps, output]. */
export interface ConvShape extends Window {
  readonly batch: number;
  readonly channels: number;
  readonly maps: number;
  readonly group: number;
  readonly input: readonly number[];
  readonly output: readonly number[];
}

export type InputFormulation = 'flipped-conv' | 'conv-transpose';
export type WeightFormulation =
  'batched-product' | 'product-per-tap' | 'joined-product-per-tap' | 'im2col' | 'convolution';

/** Whether the kernel touches each input once and alone: 1x1, stride 1, no padding. */
export function isPointwise(conv: ConvShape): boolean {
  return (
    conv.kernel.every((size) => size === 1) &&
    conv.strides.every((stride) => stride === 1) &&
    [...conv.padsBefore, ...conv.padsBehind].every((pad) => pad === 0)
  );
}

/** Whether a flipped convolution gives dX: stride 1, and no padding beyond the kernel's reach. */
export function canFlip(conv: ConvShape): boolean {
  return conv.kernel.every((size, axis) => {
    const reach = at(conv.dilations, axis) * (size - 1);
    const fits = at(conv.padsBefore, axis, 0) <= reach && at(conv.padsBehind, axis, 0) <= reach;
    return at(conv.strides, axis) === 1 && fits;
  });
}

/** The ways to dX that a convolution allows. */
export function inputFormulations(conv: ConvShape): readonly InputFormulation[] {
  return canFlip(conv) ? ['flipped-conv', 'conv-transpose'] : ['conv-transpose'];
}

/** The ways to dW that a convolution allows. */
export function weightFormulations(conv: ConvShape): readonly WeightFormulation[] {
  return [
    ...(isPointwise(conv) ? (['batched-product'] as const) : []),
    'product-per-tap',
    ...(conv.group === 1 ? (['joined-product-per-tap', 'im2col'] as const) : []),
    'convolution',
  ];
}

/** Stride 1 -> flipped convolution, which runs as the forward one; else ConvTranspose. */
export function inputFormulation(conv: ConvShape): InputFormulation {
  return canFlip(conv) ? 'flipped-conv' : 'conv-transpose';
}

/**
 * What `npm run bench -- gradients` shows (AVX-512, two threads, spinning off, median ms: product per tap | im2col |
 * convolution of X with dY as its kernel):
 * 64x16x16x32 k3 4.9 | 15.5 | 39.7; 64x16x32x32 k3 s2 4.1 | 4.8 | 4.8; 64x32x32x16 k3 3.4 | 7.2 | 8.0; 64x64x64x8 k3 2.9 | 4.1 | 5.5;
 * 16x64x64x56 k3 48 | 249 | 183; 16x256x256x14 k3 53 | 150 | 128; 64x3x16x32 k3 2.7 | 3.1 | 4.4; 16x3x64x224 k7 s2 1043 | 288 | 83;
 * depthwise 64x96x32 k3 61 | - | 133; 64x144x16 k3 s2 31 | - | 14; 64x240x8 k1 in 3 groups 1.2 (as one batched product) | - | 7.1.
 */
const MAX_TAPS = 25;
/**
 * Small maps with many weights: product per tap | with samples joined: 16x512x512x7 k3 106 | 27; 16x256x512x14 k3 s2 25 | 17;
 * 128x64x64x8 k3 7.4 | 6.6; 64x128x128x8 k3 9.6 | 8.4; 16x960x160x7 k1 3.8 | 1.4; but 16x256x256x14 k3 40 | 54, 64x32x32x16 k3 3.3 | 3.6.
 */
const JOINED_PLACES = 64;
const JOINED_WEIGHTS = 4096;

/**
 * One group with small maps and many weights: products over samples and places at once. Pointwise: one batched product.
 * Stride 1, or one group: a product per kernel tap. Else, and where a kernel has more than 25 taps, a convolution of X
 * with dY as its kernel.
 */
export function weightFormulation(conv: ConvShape): WeightFormulation {
  const taps = elementCount(conv.kernel);
  const isStrided = conv.strides.some((stride) => stride !== 1);
  if (taps > MAX_TAPS || (conv.group > 1 && isStrided)) return 'convolution';
  const isSmall = elementCount(conv.output) <= JOINED_PLACES && conv.maps * conv.channels >= JOINED_WEIGHTS;
  if (conv.group === 1 && isSmall) return 'joined-product-per-tap';
  return isPointwise(conv) ? 'batched-product' : 'product-per-tap';
}
