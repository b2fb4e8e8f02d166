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
  | 'batched-product'
  | 'product-per-tap'
  | 'joined-product-per-tap'
  | 'shifted-product'
  | 'joined-shifted-product'
  | 'im2col'
  | 'convolution';

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

/** Whether taps are shifts of whole planes: unit strides, at most two axes, and something to shift. */
export function canShift(conv: ConvShape): boolean {
  return conv.kernel.length <= 2 && conv.strides.every((stride) => stride === 1) && elementCount(conv.kernel) > 1;
}

/** The ways to dW that a convolution allows. */
export function weightFormulations(conv: ConvShape): readonly WeightFormulation[] {
  return [
    ...(canShift(conv) ? (['shifted-product'] as const) : []),
    ...(canShift(conv) && conv.group === 1 ? (['joined-shifted-product'] as const) : []),
    ...(isPointwise(conv) ? (['batched-product'] as const) : []),
    'product-per-tap',
    ...(conv.group === 1 ? (['joined-product-per-tap', 'im2col'] as const) : []),
    'convolution',
  ];
}

/** Weights whose flipping and exchange cost more than they gain: 16x512x512x7 k3 18.0 ms flipped, 14.7 with ConvTranspose. */
const LARGE_WEIGHTS = 2 ** 20;

/** Stride 1 -> flipped convolution, which runs as the forward one; else ConvTranspose. */
export function inputFormulation(conv: ConvShape): InputFormulation {
  const weights = (conv.maps * conv.channels * elementCount(conv.kernel)) / conv.group;
  return canFlip(conv) && weights <= LARGE_WEIGHTS ? 'flipped-conv' : 'conv-transpose';
}

/**
 * What `npm run bench -- gradients` shows (AVX-512, two threads, spinning off, median ms; batch x channels x maps x size):
 * shifted | joined and shifted | product per tap: 128x16x16x32 k3 5.4 | 8.2 | 7.2; 128x32x32x16 4.2 | 5.2 | 5.4; 128x64x64x8 4.2 | 4.5 | 4.7;
 * 16x64x64x56 13.8 | 15.4 | 19.1; 64x128x128x8 7.0 | 7.5 | 8.9; 16x256x256x14 16.8 | 11.3 | 16.4; 16x512x512x7 26.5 | 11.5 | 23.6;
 * depthwise 16x96x56 12.7 | - | 18.5; 16x384x14 4.9 | - | 6.6. With stride 2, im2col | joined per tap | per tap | convolution of X with
 * dY as its kernel: 128x16x32x32 k3 7.0 | 22.5 | 12.8 | 13.2; 16x64x128x56 14.4 | 16.8 | 20.2 | 19.2; 16x256x512x14 14.3 | 8.4 | 14.8 | 15.0;
 * 16x3x64x224 k7 43 | 226 | 127 | 22; depthwise 16x144x56 k3 - | - | 38 | 10.
 */
const MAX_TAPS = 25;
/** Weights from which samples and places are joined in one axis. */
const JOINED_WEIGHTS = 32768;

/**
 * Groups or many taps with strides: a convolution of X with dY as its kernel. Unit strides: shifts. Else one product a tap, or one
 * for all taps where channels are few. With many weights samples and places are joined.
 */
export function weightFormulation(conv: ConvShape): WeightFormulation {
  const taps = elementCount(conv.kernel);
  const isUnit = conv.strides.every((stride) => stride === 1);
  const isLarge = conv.group === 1 && conv.maps * conv.channels >= JOINED_WEIGHTS;
  if (canShift(conv)) return isLarge ? 'joined-shifted-product' : 'shifted-product';
  if (taps > MAX_TAPS || (conv.group > 1 && !isUnit)) return 'convolution';
  if (isLarge) return 'joined-product-per-tap';
  if (isPointwise(conv)) return 'batched-product';
  return isUnit || taps === 1 || conv.group > 1 ? 'product-per-tap' : 'im2col';
}
