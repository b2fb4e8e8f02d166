import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/**
 * Y = S xh + B per channel, xh = (X - mean) / sd, sd = sqrt(var + eps). With sums and means over all axes but 1:
 * dB = sum dY, dS = sum dY xh; in inference mode dX = dY S / sd; in training mode, where mean and var are the batch's,
 * dX = S / sd (dY - mean(dY) - xh mean(dY xh)). Ioffe & Szegedy 2015, section 3.
 *
 * Set momentum to 0 in a training graph: then the node itself tells the batch's statistics. Give it two different values
 * as running mean and variance, for ONNX Runtime writes its outputs over them.
 *
 * Few passes over the data: dS comes from dot products of whole planes (FusedMatMul, 0.4 ms where Mul and ReduceSum take
 * 1.0 for 128x16x32x32), and what is taken off dY is a BatchNormalization of X (0.4 ms; Mul and Add take 0.8).
 */
export const batchNormalizationGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const channels = shape[1] ?? 1;
  const perChannel = [1, channels, ...shape.slice(2).map(() => 1)];
  const isTraining = node.node.int('training_mode', 0) !== 0;
  if (isTraining && (node.hasGradient(1) || node.hasGradient(2)))
    throw node.unsupported('its running statistics are read');
  const [mean, variance] = isTraining ? batchStatistics(node, b) : [node.input(3), node.input(4)];
  const epsilon = node.node.float('epsilon', 1e-5);
  const [x, scale, dY] = [node.input(0), node.input(1), node.gradient()];
  const inverse = b.op('Reciprocal', [b.op('Sqrt', [b.shift(variance, epsilon)])]);
  const slope = b.mul(scale, inverse);

  const needsX = isTraining && node.needs(0);
  const needsScale = needsX || node.needs(1) || (!isTraining && node.needs(4));
  const needsSum = needsX || node.needs(2) || (!isTraining && node.needs(3));
  const planes = needsScale || needsSum ? planeSums(b, dY) : '';
  const dB = needsSum ? b.sum(planes, [0], 0) : undefined;
  const centred = (): string => b.sub(planeProducts(b, dY, x), b.mul(planes, mean));
  const dS = needsScale ? b.mul(b.sum(centred(), [0], 0), inverse) : undefined;

  let dX: string | undefined;
  if (node.needs(0)) {
    let outer = dY;
    if (isTraining && dS !== undefined && dB !== undefined) {
      const factor = -channels / elementCount(shape);
      const statistics = [b.scale(dS, factor), b.scale(dB, factor), mean, variance];
      outer = b.add(dY, b.op('BatchNormalization', [x, ...statistics], { epsilon: { float: epsilon } }));
    }
    dX = b.mul(outer, b.reshape(slope, perChannel));
  }
  const dMean = (sum: string): string => b.op('Neg', [b.mul(sum, slope)]);
  const dVariance = (product: string): string => b.scale(b.mul(b.mul(product, scale), b.mul(inverse, inverse)), -0.5);
  return [
    dX,
    node.needs(1) ? dS : undefined,
    node.needs(2) ? dB : undefined,
    !isTraining && node.needs(3) && dB !== undefined ? dMean(dB) : undefined,
    !isTraining && node.needs(4) && dS !== undefined ? dVariance(dS) : undefined,
  ];
};

/** Up to here a product and a sum are quicker than a call of the matrix kernel a plane: 128x64x8x8 0.12 ms against 0.50. */
const SMALL_PLANE = 256;

/** [N, C, ...] -> [N, C], the sum of each plane. */
function planeSums(b: GradientBuilder, a: string): string {
  return b.sum(
    a,
    b
      .shape(a)
      .map((_, axis) => axis)
      .slice(2),
    0,
  );
}

/** [N, C, ...], [N, C, ...] -> [N, C], the inner product of each pair of planes. */
function planeProducts(b: GradientBuilder, left: string, right: string): string {
  const [batch = 1, channels = 1, ...spatial] = b.shape(left);
  const places = elementCount(spatial);
  if (places <= SMALL_PLANE) return planeSums(b, b.mul(left, right));
  const rows = (a: string): string => b.reshape(a, [batch * channels, 1, places]);
  return b.reshape(b.matMul(rows(left), rows(right), { b: true }), [batch, channels]);
}

/**
 * Mean and (biased) variance of the batch. With momentum 0 the running outputs are these, at no cost. Otherwise they are
 * computed again: the running inputs cannot be solved for, because ONNX Runtime writes the running outputs over them.
 */
function batchStatistics(node: ForwardNode, b: GradientBuilder): readonly [string, string] {
  const type = { elementType: node.elementType, shape: node.inputShape(3) };
  // ONNX Runtime refuses training mode without all three outputs.
  const running = [b.optionalOutput(node.node, 1, type), b.optionalOutput(node.node, 2, type)] as const;
  if (node.node.float('momentum', 0.9) === 0) return running;
  const shape = node.inputShape(0);
  const axes = shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  const mean = b.mean(node.input(0), axes, 1);
  const centred = b.sub(node.input(0), mean);
  return [b.reshape(mean, [shape[1] ?? 1]), b.mean(b.mul(centred, centred), axes, 0)];
}

/**
 * Y = S xh + B, xh = (X - mean) inv over the axes from `axis`: with g = dY S, dX = inv (g - mean(g) - xh mean(g xh)),
 * dS = sum dY xh, dB = sum dY over the leading axes. Mean and inv are outputs of the node. Ba et al. 2016, section 3.
 */
export const layerNormalizationGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const axis = node.axis(node.node.int('axis', -1));
  const axes = shape.map((_, at) => at).slice(axis);
  if (node.hasGradient(1) || node.hasGradient(2)) throw node.unsupported('its mean or deviation is read');
  const type = { elementType: node.elementType, shape: shape.map((size, at) => (at < axis ? size : 1)) };
  const mean = b.optionalOutput(node.node, 1, type);
  const inverse = b.optionalOutput(node.node, 2, type);
  const normalized = b.mul(b.sub(node.input(0), mean), inverse);
  return normalizedGradient(node, b, { normalized, inverse, axes, isCentred: true });
};

/**
 * Y = S xh, xh = X inv, inv = 1 / sqrt(mean(X^2) + eps): with g = dY S, dX = inv (g - xh mean(g xh)), dS = sum dY xh.
 * Zhang & Sennrich 2019, section 4. RMSNormalization and SimplifiedLayerNormalization.
 */
export const rmsNormalizationGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  const axes = shape.map((_, at) => at).slice(node.axis(node.node.int('axis', -1)));
  const x = node.input(0);
  const square = b.mean(b.mul(x, x), axes, 1);
  const inverse = b.op('Reciprocal', [b.op('Sqrt', [b.shift(square, node.node.float('epsilon', 1e-5))])]);
  return normalizedGradient(node, b, { normalized: b.mul(x, inverse), inverse, axes, isCentred: false });
};

function normalizedGradient(
  node: ForwardNode,
  b: GradientBuilder,
  parts: { normalized: string; inverse: string; axes: readonly number[]; isCentred: boolean },
): readonly (string | undefined)[] {
  const { normalized, inverse, axes, isCentred } = parts;
  const dY = node.gradient();
  return [
    node.needs(0)
      ? throughStatistics(b, node.has(1) ? b.mul(dY, node.input(1)) : dY, { normalized, inverse, axes, isCentred })
      : undefined,
    node.needs(1) ? b.unbroadcast(b.mul(dY, normalized), node.inputShape(1)) : undefined,
    node.needs(2) ? b.unbroadcast(dY, node.inputShape(2)) : undefined,
  ];
}

/** inv (g - mean(g) - xh mean(g xh)), the mean(g) only where X was centred. */
function throughStatistics(
  b: GradientBuilder,
  g: string,
  parts: { normalized: string; inverse: string; axes: readonly number[]; isCentred: boolean },
): string {
  const { normalized, inverse, axes, isCentred } = parts;
  const along = b.mul(normalized, b.mean(b.mul(g, normalized), axes, 1));
  const rest = isCentred ? b.sub(g, b.mean(g, axes, 1)) : g;
  return b.mul(b.sub(rest, along), inverse);
}

/** Y = S xh + B, statistics per sample and channel: as BatchNormalization over the spatial axes. Ulyanov et al. 2016. */
export const instanceNormalizationGradient: GradientRule = (node, b) => {
  const [batch = 1, channels = 1, ...spatial] = node.inputShape(0);
  return groupedGradient(node, b, [batch, channels, 1, ...spatial]);
};

/** Y = S xh + B, statistics per sample and group of channels. Wu & He 2018, section 3.1. */
export const groupNormalizationGradient: GradientRule = (node, b) => {
  const [batch = 1, channels = 1, ...spatial] = node.inputShape(0);
  const groups = node.node.int('num_groups', 1);
  if (elementCount(node.inputShape(1)) !== channels) {
    throw node.unsupported('its scale has one entry a group (opset 18 to 20); upgrade the model to opset 21');
  }
  return groupedGradient(node, b, [batch, groups, channels / groups, ...spatial]);
};

/** `view`: [batch, groups, channels of a group, ...spatial]. */
function groupedGradient(
  node: ForwardNode,
  b: GradientBuilder,
  view: readonly number[],
): readonly (string | undefined)[] {
  const shape = node.inputShape(0);
  const axes = view.map((_, axis) => axis).slice(2);
  const perChannel = [1, shape[1] ?? 1, ...shape.slice(2).map(() => 1)];
  const otherAxes = shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  const dY = node.gradient();
  const x = b.reshape(node.input(0), view);
  const centred = b.sub(x, b.mean(x, axes, 1));
  const variance = b.mean(b.mul(centred, centred), axes, 1);
  const inverse = b.op('Reciprocal', [b.op('Sqrt', [b.shift(variance, node.node.float('epsilon', 1e-5))])]);
  const normalized = b.mul(centred, inverse);
  const dX = (): string => {
    const g = b.reshape(b.mul(dY, b.reshape(node.input(1), perChannel)), view);
    return b.reshape(throughStatistics(b, g, { normalized, inverse, axes, isCentred: true }), shape);
  };
  return [
    node.needs(0) ? dX() : undefined,
    node.needs(1) ? b.sum(b.mul(dY, b.reshape(normalized, shape)), otherAxes, 0) : undefined,
    node.needs(2) ? b.sum(dY, otherAxes, 0) : undefined,
  ];
}

/** Y = X / norm along an axis: L2 dX = (dY - Y sum(dY Y)) / norm; L1 dX = (dY - sign(X) sum(dY Y)) / norm. */
export const lpNormalizationGradient: GradientRule = (node, b) => {
  const [x, y, dY] = [node.input(0), node.output(), node.gradient()];
  const axes = [node.axis(node.node.int('axis', -1))];
  const isL2 = node.node.int('p', 2) === 2;
  const norm = b.op(isL2 ? 'ReduceL2' : 'ReduceL1', [x, b.ints(axes)], { keepdims: 1 });
  const along = b.sum(b.mul(dY, y), axes, 1);
  return [b.div(b.sub(dY, b.mul(isL2 ? y : b.op('Sign', [x]), along)), norm)];
};
