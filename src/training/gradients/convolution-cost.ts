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
export type WeightFormulation = 'batched-product' | 'product-per-tap' | 'convolution';

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

/** Stride 1 -> flipped convolution, which runs as the forward one; else ConvTranspose. */
export function inputFormulation(conv: ConvShape): InputFormulation {
  return canFlip(conv) ? 'flipped-conv' : 'conv-transpose';
}

/**
 * Ungrouped: one matrix product per kernel tap. Grouped pointwise: one batched product. Else a convolution of X with
 * dY as its kernel.
 */
export function weightFormulation(conv: ConvShape): WeightFormulation {
  if (isPointwise(conv)) return conv.group === 1 || conv.group < conv.channels ? 'batched-product' : 'convolution';
  return conv.group === 1 && elementCount(conv.kernel) <= 49 ? 'product-per-tap' : 'convolution';
}
