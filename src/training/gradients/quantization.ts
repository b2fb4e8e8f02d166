import type { DataType } from '../../onnx/data-type.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/**
 * Gradients through integers: the gradient at a quantized value is taken at the real number (q - z) s that it stands for,
 * so DequantizeLinear passes dY on as it is, and what lies between the pair (Reshape, Transpose, MaxPool) needs no care.
 */
const QUANTIZED_RANGE: Readonly<Partial<Record<DataType, readonly [number, number]>>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint4: [0, 15],
  int4: [-8, 7],
  uint2: [0, 3],
  int2: [-2, 1],
};

/**
 * q = clamp(rne(X / s) + z): straight-through within the range, dX = dY (qmin <= rne(X/s) + z <= qmax), and a scale that
 * is trained gets its part -dY X / s of what the range lets through. Jacob et al. 2018; Esser et al. 2020, eq. 3.
 */
export const quantizeLinearGradient: GradientRule = (node, b) => {
  const [x, dY] = [node.input(0), node.gradient()];
  const scale = alongAxis(node, b, node.input(1));
  const type = b.types.elementType(node.output()) ?? 'uint8';
  const range = QUANTIZED_RANGE[type];
  if (range === undefined) throw node.unsupported(`quantization to ${type} has no gradient rule`);
  const ratio = b.div(x, scale);
  const rounded = b.op('Round', [ratio]);
  const bound = (value: number): string => {
    if (!node.has(2)) return b.scalar(value, x);
    return b.sub(b.scalar(value, x), alongAxis(node, b, b.op('CastLike', [node.input(2), x])));
  };
  const inside = b.op('And', [
    b.op('GreaterOrEqual', [rounded, bound(range[0])]),
    b.op('LessOrEqual', [rounded, bound(range[1])]),
  ]);
  const dX = b.mul(dY, b.mask(inside, dY));
  const dScale = (): string => sumToScale(node, b, b.op('Neg', [b.mul(dX, ratio)]));
  return [dX, node.needs(1) ? dScale() : undefined];
};

/** Y = (q - z) s: the real number itself, dX = dY; a scale that is trained gets dY Y / s = dY (q - z). Esser et al. 2020, eq. 3. */
export const dequantizeLinearGradient: GradientRule = (node, b) => {
  const dY = node.gradient();
  const dScale = (): string => sumToScale(node, b, b.div(b.mul(dY, node.output()), alongAxis(node, b, node.input(1))));
  return [dY, node.needs(1) ? dScale() : undefined];
};

function axisOf(node: ForwardNode): number {
  return node.axis(node.node.int('axis', 1));
}

/** A scale of one element, or of one for each place along `axis`, in a shape that broadcasts. */
function alongAxis(node: ForwardNode, b: GradientBuilder, vector: string): string {
  const shape = b.shape(vector);
  if (shape.length === 0) return vector;
  if (shape.length > 1) throw node.unsupported('its scale has blocks; quantize per channel or per tensor');
  if (shape[0] === 1) return b.reshape(vector, []);
  const axis = axisOf(node);
  return b.reshape(
    vector,
    node.inputShape(0).map((size, at) => (at === axis ? size : 1)),
  );
}

function sumToScale(node: ForwardNode, b: GradientBuilder, gradient: string): string {
  const shape = node.inputShape(1);
  if (shape.length === 0 || shape[0] === 1) return b.unbroadcast(gradient, shape);
  const axis = axisOf(node);
  return b.sum(
    gradient,
    node.inputShape(0).flatMap((_, at) => (at === axis ? [] : [at])),
    0,
  );
}
