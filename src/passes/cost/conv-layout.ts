import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import type { SizesOf } from './cost-model.ts';
import type { KernelCost } from './kernel-cost-table.ts';

/** A convolution by its numbers of channels, of one group for `group` 1, and the pixels it works on. */
export interface ConvSize {
  readonly outputs: number;
  /** Input channels of a group. */
  readonly inputs: number;
  readonly group: number;
  /** Elements of the kernel window, and pixels of the output. */
  readonly window: number;
  readonly pixels: number;
}

/** A convolution of a graph, with its number of spatial axes; undefined where sizes are not known. */
export function convSizeOf(node: Node, sizesOf: SizesOf): (ConvSize & { readonly axes: number }) | undefined {
  const [data = '', weight = ''] = node.inputs;
  const dims = sizesOf(weight);
  const result = sizesOf(node.outputs[0] ?? '');
  if (dims === undefined || result === undefined) return undefined;
  const [outputs = 1, inputs = 1, ...window] = dims;
  const pixels = Math.max(1, Math.round(elementCount(result) / outputs));
  // Not the attribute: a depthwise layer has fewer groups where it is estimated with fewer channels.
  const group = Math.max(1, Math.round((sizesOf(data)?.[1] ?? inputs) / inputs));
  return { outputs, inputs, group, window: elementCount(window), pixels, axes: window.length };
}

/**
 * How ONNX Runtime's float convolution lays out its channels: `blocked` on both sides; `narrow`, which reads plain values and
 * writes blocked ones (fewer input channels than a block); `plain`, the general kernel, some half as fast.
 */
export type ConvLayout = 'blocked' | 'narrow' | 'plain';

/** Channels that the blocked kernels read are a multiple of this. */
const ALIGNMENT = 4;

/** @param block - channels of a block; 1 where the runtime has no blocked kernels */
export function convLayout({ outputs, inputs, group }: ConvSize, block: number): ConvLayout {
  if (block <= 1) return 'plain';
  if (group === 1) {
    if (inputs < block) return 'narrow';
    return inputs % ALIGNMENT === 0 ? 'blocked' : 'plain';
  }
  if (outputs % ALIGNMENT !== 0) return 'plain';
  if (inputs === 1 && outputs === group) return 'blocked';
  return inputs % block === 0 && (outputs / group) % block === 0 ? 'blocked' : 'plain';
}

/** What the kernel of a layout really does: blocks are filled up with zeros, which take the time of any other channel. */
export function convWorkload(size: ConvSize, block: number) {
  const layout = convLayout(size, block);
  const isDepthwise = size.group > 1 && size.inputs === 1;
  const up = (channels: number): number => Math.ceil(channels / block) * block;
  const groups = isDepthwise ? 1 : size.group;
  const outputs = layout === 'plain' ? size.outputs / groups : up(size.outputs / groups);
  const inputs = layout === 'blocked' && !isDepthwise ? up(size.inputs) : size.inputs;
  const reduction = inputs * size.window;
  const family = isDepthwise ? 'depthwise' : size.window === 1 ? 'pointwise' : 'window';
  const work = groups * outputs * reduction * size.pixels;
  return { layout, kernel: `${family} ${layout}`, shape: [outputs, reduction, size.pixels], work };
}

const WINDOW = 9;
const POINTWISE = new Set(['pointwise-conv', 'pointwise-conv-width']);
const DEPTHWISE = new Set(['depthwise-conv', 'depthwise-conv-width']);
const WINDOWED = new Set(['conv', 'stem-conv', 'conv-width']);

/** A measured convolution; undefined for another kernel. */
export function measuredConvSize(entry: KernelCost): ConvSize | undefined {
  const [outputs = 1, reduction = 1, pixels = 1] = entry.shape;
  const [isPointwise, isDepthwise] = [POINTWISE.has(entry.kernel), DEPTHWISE.has(entry.kernel)];
  if (!isPointwise && !isDepthwise && !WINDOWED.has(entry.kernel)) return undefined;
  const window = isPointwise ? 1 : WINDOW;
  return { outputs, inputs: reduction / window, group: isDepthwise ? outputs : 1, window, pixels };
}

/** A measured convolution under the kernel, shape and work of its layout; undefined for what is none in float. */
export function asConvWorkload(entry: KernelCost, block: number): ReturnType<typeof convWorkload> | undefined {
  const size = measuredConvSize(entry);
  return size === undefined ? undefined : convWorkload(size, block);
}
