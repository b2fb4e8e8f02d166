import { elementCount } from '../../onnx/nd-array.ts';
import type { ConvShape } from './convolution-cost.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import { at } from './window.ts';

/** Pointwise: dW[g] = sum over samples of dY[n,g] X[n,g]ᵀ, [M/g, L]·[L, C/g]. */
export function batchedWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const { batch, group, channels, maps } = conv;
  const places = elementCount(conv.output);
  const lead = group === 1 ? [batch] : [batch, group];
  const left = b.reshape(dY, [...lead, maps / group, places]);
  const right = b.reshape(X, [...lead, channels / group, places]);
  const perSample = b.matMul(left, right, { b: true });
  return b.reshape(b.sum(perSample, [0], 0), [maps, channels / group, ...conv.kernel]);
}

/**
 * For each kernel tap the strided view of X under it, dW[:,:,tap] = sum over samples of dY[n] tap(X[n])ᵀ. No column matrix
 * is made, and the sum over samples runs over small results.
 */
export function tapWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const { batch, channels, maps, group, kernel } = conv;
  const places = elementCount(conv.output);
  const lead = group === 1 ? [batch] : [batch, group];
  const left = b.reshape(dY, [...lead, maps / group, places]);
  const columns = tapViews(b, conv, X).map((view) => {
    const product = b.matMul(left, b.reshape(view, [...lead, channels / group, places]), { b: true });
    return b.reshape(b.sum(product, [0], 0), [maps, channels / group, 1]);
  });
  const [only = ''] = columns;
  const joined = columns.length === 1 ? only : b.op('Concat', columns, { axis: 2 });
  return b.reshape(joined, [maps, channels / group, ...kernel]);
}

/**
 * One group: as the product per tap, but with samples and places in one axis, which the product sums over: X and dY are
 * transposed once to [C, N, ..], and no result per sample is made. Pays where weights are large and maps small.
 */
export function joinedTapWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const { batch, channels, maps, kernel } = conv;
  const places = batch * elementCount(conv.output);
  const perm = [1, 0, ...kernel.map((_, axis) => axis + 2)];
  const left = b.reshape(b.transpose(dY, perm), [maps, places]);
  const columns = tapViews(b, conv, b.transpose(X, perm)).map((view) =>
    b.reshape(b.matMul(left, b.reshape(view, [channels, places]), { b: true }), [maps, channels, 1]),
  );
  const [only = ''] = columns;
  return b.reshape(columns.length === 1 ? only : b.op('Concat', columns, { axis: 2 }), [maps, channels, ...kernel]);
}

/** One group: all taps side by side as [N, taps C, L], one product with dY, and the axes put in order. */
export function columnWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const { batch, channels, maps, kernel } = conv;
  const places = elementCount(conv.output);
  const views = tapViews(b, conv, X);
  const [only = ''] = views;
  const joined = views.length === 1 ? only : b.op('Concat', views, { axis: 1 });
  const columns = b.reshape(joined, [batch, views.length * channels, places]);
  const product = b.matMul(b.reshape(dY, [batch, maps, places]), columns, { b: true });
  const perTap = b.reshape(b.sum(product, [0], 0), [maps, views.length, channels]);
  return b.reshape(b.transpose(perTap, [0, 2, 1]), [maps, channels, ...kernel]);
}

/** For each tap of the kernel the elements of the padded X that it meets, [N, C, out]. */
function tapViews(b: GradientBuilder, conv: ConvShape, X: string): string[] {
  const { kernel, strides, dilations, output } = conv;
  const padded = b.pad(X, [0, 0, ...conv.padsBefore], [0, 0, ...conv.padsBehind]);
  const sizes = conv.input.map((size, axis) => size + at(conv.padsBefore, axis) + at(conv.padsBehind, axis));
  const isStrided = strides.some((stride) => stride !== 1);
  return tapsOf(kernel).map((tap) => {
    const starts = tap.map((position, axis) => position * at(dilations, axis));
    const ends = starts.map((start, axis) => start + (at(output, axis) - 1) * at(strides, axis) + 1);
    const isWhole = !isStrided && starts.every((start, axis) => start === 0 && ends[axis] === sizes[axis]);
    if (isWhole) return padded;
    const axes = tap.map((_, axis) => axis + 2);
    return b.slice(padded, { axes, starts, ends, ...(isStrided ? { steps: strides } : {}) });
  });
}

/** Positions within the kernel, row-major. */
export function tapsOf(kernel: readonly number[]): number[][] {
  return Array.from({ length: elementCount(kernel) }, (_, index) => {
    let rest = index;
    return kernel
      .toReversed()
      .map((size) => {
        const position = rest % size;
        rest = (rest - position) / size;
        return position;
      })
      .toReversed();
  });
}

/**
 * Any group: dY as the kernel of a convolution over X with samples and channels exchanged; stride and dilation change
 * places. [C/g, gN, in] * [M, N, out] -> [C/g, M, k..], cropped to k, channel axes exchanged back.
 */
export function convTrickWeightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  const { batch, channels, maps, group, kernel, input } = conv;
  const perGroup = channels / group;
  const spatial = kernel.map((_, axis) => axis + 2);
  let images: string;
  if (group === 1) images = b.transpose(X, [1, 0, ...spatial]);
  else {
    const grouped = b.reshape(X, [batch, group, perGroup, ...input]);
    images = b.reshape(b.transpose(grouped, [2, 1, 0, ...spatial.map((axis) => axis + 1)]), [
      perGroup,
      group * batch,
      ...input,
    ]);
  }
  const kernels = b.transpose(dY, [1, 0, ...spatial]);
  const result = b.op('Conv', [images, kernels], {
    strides: conv.dilations,
    dilations: conv.strides,
    pads: [...conv.padsBefore, ...conv.padsBehind],
    group,
  });
  const sizes = kernel.map((size, axis) => {
    const covered = at(conv.strides, axis) * (at(conv.output, axis) - 1) + 1;
    const padded = at(input, axis) + at(conv.padsBefore, axis) + at(conv.padsBehind, axis);
    return { size, got: Math.floor((padded - covered) / at(conv.dilations, axis)) + 1 };
  });
  const isExact = sizes.every(({ size, got }) => size === got);
  const cropped = isExact ? result : b.slice(result, { axes: spatial, starts: kernel.map(() => 0), ends: kernel });
  const exchanged = b.transpose(cropped, [1, 0, ...spatial]);
  return b.reshape(exchanged, [maps, perGroup, ...kernel]);
}
