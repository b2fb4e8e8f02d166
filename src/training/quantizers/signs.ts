import { markedFunction } from './marked-function.ts';

export const BINARIZE = 'Binarize';
export const TERNARIZE = 'Ternarize';

/** Node attribute that says how the gradient passes: a `WindowGradient` of Binarize, a `TernaryGradient` of Ternarize. */
export const PASSES = 'passes';

/**
 * How the gradient passes through a sign.
 * - `all`: as it is.
 * - `window`: where |x| <= 1.
 * - `polynomial`: times 2 - 2 |x| where |x| <= 1, the slope of the parabolas that Bi-Real puts in the sign's place.
 */
export type WindowGradient = 'all' | 'window' | 'polynomial';

/** `scaled`: at a weight times the value it is replaced by, 1 between the thresholds (TTQ); `all`: as it is (TWN). */
export type TernaryGradient = 'all' | 'scaled';

/** `Y = 1 where X >= 0, else -1`. Zero counts as positive, unlike in Sign. */
export const binarizeFunction = markedFunction(BINARIZE, { inputs: ['X'], attributes: [PASSES] }, (op, [x = '']) => {
  const constant = (value: number): string => op('Constant', [], { value_float: { float: value } });
  return op('Where', [op('GreaterOrEqual', [x, constant(0)]), constant(1), constant(-1)]);
});

/** `Y = positive where X > threshold, -negative where X < -threshold, else 0`; the last three broadcast. */
export const ternarizeFunction = markedFunction(
  TERNARIZE,
  { inputs: ['X', 'threshold', 'positive', 'negative'], attributes: [PASSES] },
  (op, [x = '', threshold = '', positive = '', negative = '']) => {
    const zero = op('Constant', [], { value_float: { float: 0 } });
    const below = op('Where', [op('Less', [x, op('Neg', [threshold])]), op('Neg', [negative]), zero]);
    return op('Where', [op('Greater', [x, threshold]), positive, below]);
  },
);
