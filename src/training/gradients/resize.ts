import { elementCount } from '../../onnx/nd-array.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';
import { at } from './window.ts';

/**
 * Resize (nearest, linear, cubic) is separable and linear: Y = R X along each axis, so dX = Rᵀ dY with constant matrices,
 * exact for every coordinate transformation. ONNX specification of Resize; Keys 1981 for cubic.
 */
export const resizeGradient: GradientRule = (node, b) => {
  const { node: inner } = node;
  if (inner.int('antialias', 0) !== 0) throw node.unsupported('antialias has no gradient rule');
  const shape = node.inputShape(0);
  const output = node.outputShape();
  const scales = scalesOf(node, shape, output);
  let gradient = node.gradient();
  for (const [axis, size] of shape.entries()) {
    const target = at(output, axis);
    const scale = at(scales, axis);
    if (size === target && scale === 1) continue;
    const forward = resizeMatrix(node, { input: size, output: target, scale });
    const transposed = new Float32Array(size * target);
    for (let row = 0; row < target; row += 1) {
      for (let column = 0; column < size; column += 1)
        transposed[column * target + row] = forward[row * size + column] ?? 0;
    }
    gradient = b.applyAlong(gradient, axis, b.constant(transposed, [size, target], gradient));
  }
  return [gradient];
};

/** The scale of each axis: as given, else the quotient of the sizes. Axes that are not named keep their size. */
function scalesOf(node: ForwardNode, shape: readonly number[], output: readonly number[]): number[] {
  const isUpsample = node.node.opType === 'Upsample';
  const index = isUpsample ? 1 : 2;
  const axes = (node.node.ints('axes') ?? shape.map((_, axis) => axis)).map((axis) => node.axis(axis));
  const scales = shape.map((size, axis) => (size === 0 ? 1 : at(output, axis) / size));
  if (node.has(index) && elementCount(node.inputShape(index)) > 0) {
    node.constant(index).forEach((scale, position) => {
      const axis = axes[position];
      if (axis !== undefined) scales[axis] = scale;
    });
  }
  return scales;
}

interface Axis {
  readonly input: number;
  readonly output: number;
  readonly scale: number;
}

/** R [output, input], row-major: row i has the weights of the inputs that make output i. */
function resizeMatrix(node: ForwardNode, axis: Axis): Float64Array {
  const { input, output } = axis;
  const isUpsample = node.node.opType === 'Upsample';
  const mode = node.node.string('mode', 'nearest');
  const transformation = node.node.string('coordinate_transformation_mode', isUpsample ? 'asymmetric' : 'half_pixel');
  const excludesOutside = node.node.int('exclude_outside', 0) !== 0;
  const matrix = new Float64Array(output * input);
  for (let row = 0; row < output; row += 1) {
    const place = sourcePlace(node, transformation, row, axis);
    const weights = weightsAt(node, isUpsample ? 'floor' : undefined, mode, place);
    const isInside = ([position]: readonly [number, number]): boolean => position >= 0 && position < input;
    const kept = excludesOutside && mode === 'cubic' ? weights.filter(isInside) : weights;
    const total = kept.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [position, weight] of kept) {
      const column = Math.min(Math.max(position, 0), input - 1);
      const share = excludesOutside && mode === 'cubic' ? weight / total : weight;
      matrix[row * input + column] = (matrix[row * input + column] ?? 0) + share;
    }
  }
  return matrix;
}

/** Where output `row` lies on the input's axis. ONNX specification, coordinate_transformation_mode. */
function sourcePlace(node: ForwardNode, transformation: string, row: number, { input, output, scale }: Axis): number {
  switch (transformation) {
    case 'half_pixel':
      return (row + 0.5) / scale - 0.5;
    case 'half_pixel_symmetric': {
      const adjustment = output / (scale * input);
      return (input / 2) * (1 - adjustment) + (row + 0.5) / scale - 0.5;
    }
    case 'pytorch_half_pixel':
      return output > 1 ? (row + 0.5) / scale - 0.5 : 0;
    case 'align_corners':
      return output === 1 ? 0 : (row * (input - 1)) / (output - 1);
    case 'asymmetric':
      return row / scale;
    default:
      throw node.unsupported(`coordinate transformation "${transformation}" has no gradient rule`);
  }
}

/** Input positions and their weights for a place between them. */
function weightsAt(
  node: ForwardNode,
  rounding: string | undefined,
  mode: string,
  place: number,
): readonly (readonly [number, number])[] {
  const floor = Math.floor(place);
  const rest = place - floor;
  if (mode === 'linear' || mode === 'bilinear')
    return [
      [floor, 1 - rest],
      [floor + 1, rest],
    ];
  if (mode === 'cubic') {
    const a = node.node.float('cubic_coeff_a', -0.75);
    return [-1, 0, 1, 2].map((offset) => [floor + offset, cubicWeight(Math.abs(rest - offset), a)] as const);
  }
  switch (rounding ?? node.node.string('nearest_mode', 'round_prefer_floor')) {
    case 'floor':
      return [[floor, 1]];
    case 'ceil':
      return [[Math.ceil(place), 1]];
    case 'round_prefer_ceil':
      return [[Math.floor(place + 0.5), 1]];
    default:
      return [[rest === 0.5 ? floor : Math.round(place), 1]];
  }
}

/** Keys 1981, eq. 4, with free coefficient a. */
function cubicWeight(distance: number, a: number): number {
  if (distance <= 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  if (distance < 2) return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a;
  return 0;
}
