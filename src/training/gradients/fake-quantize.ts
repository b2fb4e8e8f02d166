import { SCALE_GRADIENT } from '../quantizers/fake-quantize.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';

/**
 * Y = s round(clip(X / s, l, h)), straight through the rounding. With r = X / s, c = clip(r, l, h) and m = 1 where c = r:
 *
 * - dX = m dY.
 * - ds, LSQ: sum of dY (round(c) - m c), which is round(r) - r inside, l below and h above.
 * - ds, PACT: h times the sum of dY where r >= h; so dY itself for the clipping level s h.
 * - dl, dh: s times the sum of dY below and above: the offset of LSQ+ moves with the zero point.
 *
 * @see Esser et al., "Learned Step Size Quantization", ICLR 2020, eq. 3; Choi et al., "PACT", 2018, eq. 3;
 *   Bhalgat et al., "LSQ+", CVPR Workshops 2020, eq. 4 and 5
 */
export const fakeQuantizeGradient: GradientRule = (node, b) => {
  const [x, scale, low, high] = [node.input(0), node.input(1), node.input(2), node.input(3)];
  const dY = node.gradient();
  // The forward pass has both too; ONNX Runtime computes equal nodes once.
  const ratio = b.div(x, scale);
  const clipped = b.op('Clip', [ratio, low, high]);
  const inside = b.mask(b.op('Equal', [ratio, clipped]), dY);
  const dX = node.needs(0) ? b.mul(dY, inside) : undefined;
  const dScale = (): string | undefined => {
    switch (node.node.string(SCALE_GRADIENT, 'none')) {
      case 'lsq': {
        const slope = b.sub(b.op('Round', [clipped]), b.mul(clipped, inside));
        return b.unbroadcast(b.mul(dY, slope), node.inputShape(1));
      }
      case 'pact': {
        const above = b.mask(b.op('GreaterOrEqual', [ratio, high]), dY);
        return b.mul(b.unbroadcast(b.mul(dY, above), node.inputShape(1)), high);
      }
      default:
        return undefined;
    }
  };
  const beyond = (bound: number, comparison: string): string =>
    outside(node, b, { bound, beyond: b.op(comparison, [ratio, node.input(bound)]) });
  return [
    dX,
    node.needs(1) ? dScale() : undefined,
    node.needs(2) ? beyond(2, 'Less') : undefined,
    node.needs(3) ? beyond(3, 'Greater') : undefined,
  ];
};

/** The gradient at a bound: what stands beyond it is the bound times the scale. */
function outside(
  node: ForwardNode,
  b: GradientBuilder,
  { bound, beyond }: { readonly bound: number; readonly beyond: string },
): string {
  const steps = b.mul(b.mul(node.gradient(), b.mask(beyond, node.gradient())), node.input(1));
  return b.unbroadcast(steps, node.inputShape(bound));
}
