import { elementCount } from '../../onnx/nd-array.ts';
import {
  inputFormulation,
  weightFormulation,
  type ConvShape,
  type InputFormulation,
  type WeightFormulation,
} from './convolution-cost.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';
import { joinedShiftedWeightGradient, shiftedWeightGradient } from './shifted-weight-gradient.ts';
import {
  batchedWeightGradient,
  columnWeightGradient,
  joinedTapWeightGradient,
  convTrickWeightGradient,
  tapWeightGradient,
} from './weight-gradient.ts';
import { at, padsOf, transposedWindowOf, windowOf } from './window.ts';

/**
 * Y = conv(X, W) + B: dX = dY spread by W, written as a convolution with the flipped kernel or as a ConvTranspose;
 * dW[m,c,k] = sum over samples and places of dY[m,place] X[c, s place + d k - p]; dB = sum of dY over all but channels.
 * The formulation is chosen from the shapes (`convolution-cost.ts`). Dumoulin & Visin 2016, chapter 4.
 */
export const convGradient: GradientRule = (node, b) => {
  const [X, W, dY] = [node.input(0), node.input(1), node.gradient()];
  const conv = convShapeOf(node);
  return [
    node.needs(0) ? inputGradient(b, conv, W, dY) : undefined,
    node.needs(1) ? weightGradient(b, conv, X, dY) : undefined,
    node.needs(2) ? biasGradient(b, dY, conv.output.length) : undefined,
  ];
};

/**
 * Y = convTranspose(X, W) + B is the adjoint of a convolution, so dX = conv(dY, W) and dW is that convolution's weight
 * gradient with the roles of X and dY exchanged. `output_padding` needs no care: it is smaller than the stride.
 */
export const convTransposeGradient: GradientRule = (node, b) => {
  const [X, W, dY] = [node.input(0), node.input(1), node.gradient()];
  const [batch = 1, channels = 1, ...input] = node.inputShape(0);
  const [, maps = 1, ...output] = node.outputShape();
  const window = transposedWindowOf(node, node.inputShape(1).slice(2), input, output);
  const group = node.node.int('group', 1);
  const adjoint: ConvShape = { ...window, batch, group, channels: maps, maps: channels, input: output, output: input };
  const dX = (): string =>
    b.op('Conv', [dY, W], { strides: window.strides, dilations: window.dilations, pads: padsOf(window), group });
  return [
    node.needs(0) ? dX() : undefined,
    node.needs(1) ? weightGradient(b, adjoint, dY, X) : undefined,
    node.needs(2) ? biasGradient(b, dY, output.length) : undefined,
  ];
};

function convShapeOf(node: ForwardNode): ConvShape {
  const [batch = 1, channels = 1, ...input] = node.inputShape(0);
  const [, maps = 1, ...output] = node.outputShape();
  const window = windowOf(node, node.inputShape(1).slice(2), input, output);
  return { ...window, batch, channels, maps, input, output, group: node.node.int('group', 1) };
}

/** Planes first, then samples: half the time of one ReduceSum over both (measured), and shorter sums are more exact. */
function biasGradient(b: GradientBuilder, dY: string, spatialRank: number): string {
  const planes = b.sum(
    dY,
    Array.from({ length: spatialRank }, (_, axis) => axis + 2),
    0,
  );
  return b.sum(planes, [0], 0);
}

/** dX [N, C, in] from W [M, C/g, k] and dY [N, M, out]. */
export function inputGradient(b: GradientBuilder, conv: ConvShape, W: string, dY: string): string {
  return INPUT_FORMULATIONS[inputFormulation(conv)](b, conv, W, dY);
}

/** dW [M, C/g, k] from X [N, C, in] and dY [N, M, out]. */
export function weightGradient(b: GradientBuilder, conv: ConvShape, X: string, dY: string): string {
  return WEIGHT_FORMULATIONS[weightFormulation(conv)](b, conv, X, dY);
}

type Formulation = (b: GradientBuilder, conv: ConvShape, operand: string, dY: string) => string;

/** How each way to dX is written; its operand is W. */
export const INPUT_FORMULATIONS: Readonly<Record<InputFormulation, Formulation>> = {
  'flipped-conv': flippedConv,
  'conv-transpose': convTranspose,
};

/** How each way to dW is written; its operand is X. */
export const WEIGHT_FORMULATIONS: Readonly<Record<WeightFormulation, Formulation>> = {
  'batched-product': batchedWeightGradient,
  'product-per-tap': tapWeightGradient,
  'joined-product-per-tap': joinedTapWeightGradient,
  'shifted-product': shiftedWeightGradient,
  'joined-shifted-product': joinedShiftedWeightGradient,
  im2col: columnWeightGradient,
  convolution: convTrickWeightGradient,
};

/** What the strided window leaves unread at the end comes back as output_padding: zeros. */
function convTranspose(b: GradientBuilder, conv: ConvShape, W: string, dY: string): string {
  const remainder = conv.kernel.map((size, axis) => {
    const reach = at(conv.dilations, axis) * (size - 1) + 1;
    return (
      (at(conv.input, axis) + at(conv.padsBefore, axis) + at(conv.padsBehind, axis) - reach) % at(conv.strides, axis)
    );
  });
  return b.op('ConvTranspose', [dY, W], {
    strides: conv.strides,
    dilations: conv.dilations,
    pads: padsOf(conv),
    output_padding: remainder,
    group: conv.group,
  });
}

/** Stride 1: conv(dY, W') with W' the kernel flipped and its channel axes exchanged within each group. */
function flippedConv(b: GradientBuilder, conv: ConvShape, W: string, dY: string): string {
  const { kernel, group, channels, maps, dilations } = conv;
  const axes = kernel.map((_, axis) => axis + 2);
  let flipped = W;
  if (elementCount(kernel) > 1) {
    flipped = b.slice(W, {
      axes,
      starts: axes.map(() => -1),
      ends: axes.map(() => -(2 ** 31)),
      steps: axes.map(() => -1),
    });
  }
  const [mapsPerGroup, channelsPerGroup] = [maps / group, channels / group];
  if (group === 1) flipped = b.transpose(flipped, [1, 0, ...axes]);
  else if (mapsPerGroup > 1 || channelsPerGroup > 1) {
    const grouped = b.reshape(flipped, [group, mapsPerGroup, channelsPerGroup, ...kernel]);
    const exchanged = b.transpose(grouped, [0, 2, 1, ...axes.map((axis) => axis + 1)]);
    flipped = b.reshape(exchanged, [channels, mapsPerGroup, ...kernel]);
  }
  const full = kernel.map((size, axis) => at(dilations, axis) * (size - 1));
  const pads = [
    ...full.map((reach, axis) => reach - at(conv.padsBefore, axis, 0)),
    ...full.map((reach, axis) => reach - at(conv.padsBehind, axis, 0)),
  ];
  return b.op('Conv', [dY, flipped], { dilations, pads, group });
}
