import type { GraphBuilder } from '../../onnx/graph-builder.ts';
import { elementCount } from '../../onnx/nd-array.ts';

/** The authors' eta. */
const ETA = 1 / 5;
const SMALLEST_NORM = 1e-12;

/**
 * The gradient of an adder layer with the norm eta sqrt(number of elements): gradients of distances shrink from layer to
 * layer by orders of magnitude, so each layer gets a rate of its own from the length of its gradient. Scale, such as that
 * of the loss, has no effect any more. Weight decay and momentum come after it, as in the authors' code.
 *
 * @see Chen et al., "AdderNet: Do We Really Need Multiplications in Deep Learning?", CVPR 2020, equations 12 and 13
 */
export function withAdaptiveRate(b: GraphBuilder, gradient: string, dims: readonly number[]): string {
  const norm = b.op('ReduceL2', [gradient], { attributes: { keepdims: 0 }, name: 'adder_norm' });
  const divisor = b.op('Max', [norm, b.float('adder_smallest_norm', SMALLEST_NORM)], { name: 'adder_divisor' });
  const target = b.float('adder_target_norm', ETA * Math.sqrt(elementCount(dims)));
  return b.op('Mul', [gradient, b.op('Div', [target, divisor], { name: 'adder_rate' })], { name: 'adder_step' });
}
