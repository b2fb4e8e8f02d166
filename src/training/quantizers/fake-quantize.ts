import { markedFunction } from './marked-function.ts';

export const FAKE_QUANTIZE = 'FakeQuantize';

/** How a quantizer's scale is trained. */
export type ScaleGradient =
  /** By what rounding and clipping do to every element: LSQ. */
  | 'lsq'
  /** By the elements above the range only: PACT. */
  | 'pact'
  /** Not at all. */
  | 'none';

/** Name of the node attribute that holds the `ScaleGradient`. */
export const SCALE_GRADIENT = 'scale_gradient';

/**
 * `Y = scale * round(clip(X / scale, low, high))`: a value on the grid of a quantizer, as QuantizeLinear and DequantizeLinear leave it.
 *
 * X any shape; scale > 0, broadcast; low and high scalars, the smallest and largest code counted from the zero point. Rounds half
 * to even, as QuantizeLinear does. Clipping before rounding comes to the same, for bounds are integers.
 */
export const fakeQuantizeFunction = markedFunction(
  FAKE_QUANTIZE,
  { inputs: ['X', 'scale', 'low', 'high'], attributes: [SCALE_GRADIENT] },
  (op, [x = '', scale = '', low = '', high = '']) => {
    const inside = op('Clip', [op('Div', [x, scale]), low, high]);
    return op('Mul', [op('Round', [inside]), scale]);
  },
);
