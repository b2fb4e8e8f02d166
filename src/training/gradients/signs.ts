import { PASSES } from '../quantizers/signs.ts';
import type { GradientRule } from './gradient-rule.ts';

/**
 * Y = 1 where X >= 0, else -1: dX = dY w(X), with the window of the node's attribute.
 *
 * @see Courbariaux et al., "BinaryConnect", NeurIPS 2015 (all); Hubara et al., "Binarized Neural Networks", NeurIPS 2016, eq. 4
 *   (window); Liu et al., "Bi-Real Net", ECCV 2018, eq. 5 (polynomial)
 */
export const binarizeGradient: GradientRule = (node, b) => {
  const [x, dY] = [node.input(0), node.gradient()];
  switch (node.node.string(PASSES, 'window')) {
    case 'all':
      return [dY];
    case 'polynomial': {
      // Beyond the window 2 - 2 |x| is below 0.
      const slope = b.scale(b.op('Relu', [b.sub(b.scalar(1, x), b.op('Abs', [x]))]), 2);
      return [b.mul(dY, slope)];
    }
    default: {
      const inside = b.op('LessOrEqual', [b.op('Abs', [x]), b.scalar(1, x)]);
      return [b.mul(dY, b.mask(inside, dY))];
    }
  }
};

/**
 * Y = p where X > t, -n where X < -t, else 0: dX = dY, or (TTQ) dY times p, 1 or n by the place; dp = sum of dY above t, dn = -(sum
 * of dY below -t); no gradient at the threshold.
 *
 * @see Zhu et al., "Trained Ternary Quantization", ICLR 2017, eq. 7 and 8; Li et al., "Ternary Weight Networks", 2016
 */
export const ternarizeGradient: GradientRule = (node, b) => {
  const [x, threshold, positive, negative] = [node.input(0), node.input(1), node.input(2), node.input(3)];
  const dY = node.gradient();
  const above = b.op('Greater', [x, threshold]);
  const below = b.op('Less', [x, b.op('Neg', [threshold])]);
  const dX = (): string => b.mul(dY, b.where(above, positive, b.where(below, negative, b.scalar(1, x))));
  const share = (where: string, input: number): string =>
    b.unbroadcast(b.mul(dY, b.mask(where, dY)), node.inputShape(input));
  // Magnitudes of TWN follow from the weights, which take the whole gradient themselves.
  if (node.node.string(PASSES, 'all') === 'all') return [dY];
  return [
    node.needs(0) ? dX() : undefined,
    undefined,
    node.needs(2) ? share(above, 2) : undefined,
    node.needs(3) ? b.op('Neg', [share(below, 3)]) : undefined,
  ];
};
