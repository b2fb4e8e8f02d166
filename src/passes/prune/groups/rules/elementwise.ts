import { SINGLE, type Axis } from '../axis.ts';
import type { ChannelRule, RuleContext } from '../rule.ts';

/** Output axes are those of the first input, position by position: activations, casts, dropout with its mask. */
export const unary: ChannelRule = (of) => {
  const axes = of.input(0);
  if (axes === undefined) return 'has an input of unknown rank';
  of.node.outputs.forEach((_, index) => of.output(index, axes));
  return undefined;
};

/** Numpy broadcasting over all inputs: axes of the same extent are coupled, an axis of size 1 is not. */
export const elementwise: ChannelRule = (of) => {
  const axes = broadcast(
    of,
    of.node.inputs.map((_, index) => index),
  );
  if (axes === undefined) return 'has an input of unknown rank';
  of.output(0, axes);
  return undefined;
};

/** Axes of the broadcast of some inputs; undefined when a rank is unknown. */
export function broadcast(of: RuleContext, inputs: readonly number[], without = 0): Axis[] | undefined {
  const operands: { axes: readonly Axis[]; shape: readonly unknown[] }[] = [];
  for (const index of inputs) {
    if (!of.has(index)) continue;
    const [axes, shape] = [of.input(index), of.shape(index)];
    if (axes === undefined || shape === undefined) return undefined;
    const count = axes.length - without;
    operands.push({ axes: axes.slice(0, count), shape: shape.slice(0, count) });
  }
  const rank = Math.max(0, ...operands.map(({ axes }) => axes.length));
  return Array.from({ length: rank }, (_, axis) => {
    let result: Axis | undefined;
    for (const { axes, shape } of operands) {
      const at = axis - (rank - axes.length);
      const own = axes[at];
      if (own === undefined || shape[at] === 1) continue;
      result = result === undefined ? own : of.couple(result, own);
    }
    return result ?? SINGLE;
  });
}
