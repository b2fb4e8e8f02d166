import { pick, repeatEach, type Axis } from '../axis.ts';
import type { ChannelRule, RuleContext } from '../rule.ts';

const NORMALIZED = 'normalizes over this axis, so that every position counts in all results';

/** Scale, shift and statistics go with the channels. */
export const batchNormalization: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined) return 'has an input of unknown rank';
  if (of.node.outputs.slice(1).some((name) => name !== '')) return 'is in training mode';
  for (let index = 1; index < of.node.inputs.length; index += 1) of.couple(x[1], of.input(index)?.[0]);
  of.output(0, x);
  return undefined;
};

export const instanceNormalization: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined) return 'has an input of unknown rank';
  of.freeze(x.slice(2), NORMALIZED);
  of.couple(x[1], of.input(1)?.[0]);
  of.couple(x[1], of.input(2)?.[0]);
  of.output(0, x);
  return undefined;
};

/** Statistics over axes `axis` and up would change with each removed channel, also when it is all zeros. */
export const layerNormalization: ChannelRule = (of) => {
  const x = of.input(0);
  const axis = x === undefined ? undefined : of.axis(of.node.int('axis', -1), x.length);
  if (x === undefined || axis === undefined) return 'has an input of unknown rank';
  of.freeze(x.slice(axis), NORMALIZED);
  of.output(0, x);
  return undefined;
};

/** Whole groups go: within one, statistics would change. */
export const groupNormalization: ChannelRule = (of) => {
  const x = of.input(0);
  const channels = of.size(0, 1);
  if (x?.[1] === undefined || channels === undefined) return 'has an input of unknown size';
  of.freeze(x.slice(2), NORMALIZED);
  const groups = of.node.int('num_groups', 1);
  const firsts = pick(x[1], { from: 0, count: groups, step: channels / groups });
  const whole = of.couple(x[1], repeatEach(firsts, channels / groups));
  const isPerChannel = of.size(1, 0) === channels;
  if (groups === 1) of.freeze(whole, NORMALIZED);
  for (const index of [1, 2]) of.couple(isPerChannel ? whole : firsts, of.input(index)?.[0]);
  of.rewrite((surgery) => {
    if (surgery.changes(firsts)) surgery.setAttribute(of.node, 'num_groups', surgery.kept(firsts).length);
  });
  of.output(0, x);
  return undefined;
};

/** One axis whose positions depend on each other; all before opset 13 from `axis` on. */
export const softmax: ChannelRule = (of) =>
  alongAxis(of, of.node.int('axis', of.opset < 13 ? 1 : -1), of.opset < 13 ? 'from' : 'at', NORMALIZED);

export const lpNormalization: ChannelRule = (of) => alongAxis(of, of.node.int('axis', -1), 'at', NORMALIZED);

/** Neighbouring channels stand in the denominator. */
export const localResponse: ChannelRule = (of) =>
  alongAxis(of, 1, 'from', 'divides by a sum over neighbouring channels');

export const cumulative: ChannelRule = (of) => {
  const [axis] = of.constant(1) ?? [];
  return axis === undefined ? 'sums along an unknown axis' : alongAxis(of, axis, 'at', 'sums along this axis');
};

function alongAxis(of: RuleContext, axis: number, extent: 'at' | 'from', reason: string): string | undefined {
  const x = of.input(0);
  const at = x === undefined ? undefined : of.axis(axis, x.length);
  if (x === undefined || at === undefined) return 'has an input of unknown rank';
  of.freeze(extent === 'at' ? x[at] : x.slice(at), reason);
  of.output(0, x);
  return undefined;
}

/** Sizes along the reduced axes stand in the result (a mean's divisor, a maximum of what an activation makes of zero). */
export const reduce: ChannelRule = (of) => {
  const x = of.input(0);
  const given = of.integers('axes', 1);
  if (x === undefined || given === undefined) return 'reduces unknown axes';
  const isNothing = given === 'absent' || given.length === 0;
  if (isNothing && of.node.int('noop_with_empty_axes', 0) !== 0) {
    of.output(0, x);
    return undefined;
  }
  const reduced = new Set(isNothing ? x.keys() : given.map((axis) => (axis < 0 ? axis + x.length : axis)));
  return reduceAxes(of, reduced);
};

export const argReduce: ChannelRule = (of) => {
  const rank = of.input(0)?.length ?? 0;
  const axis = of.axis(of.node.int('axis', 0), rank);
  return axis === undefined ? 'has an input of unknown rank' : reduceAxes(of, new Set([axis]));
};

function reduceAxes(of: RuleContext, axes: ReadonlySet<number>): string | undefined {
  const x = of.input(0) ?? [];
  of.freeze(
    x.filter((_, axis) => axes.has(axis)),
    'reduces this axis',
  );
  const keeps = of.node.int('keepdims', 1) !== 0;
  const single: Axis = of.fixed('reduces this axis');
  of.output(
    0,
    x.flatMap((axis, at) => (axes.has(at) ? (keeps ? [single] : []) : [axis])),
  );
  return undefined;
}

/** Scale and zero point of a per-axis quantization go with its axis. */
export const quantization: ChannelRule = (of) => {
  const [x, scale] = [of.input(0), of.input(1)];
  if (x === undefined || scale === undefined) return 'has an input of unknown rank';
  if (scale.length > 1 || of.node.int('block_size', 0) !== 0) return 'quantizes in blocks';
  if (scale.length === 1 && of.size(1, 0) !== 1) {
    const axis = of.axis(of.node.int('axis', 1), x.length);
    if (axis === undefined) return 'has an axis out of range';
    of.couple(x[axis], scale[0]);
    if (of.has(2)) of.couple(x[axis], of.input(2)?.[0]);
  }
  of.output(0, x);
  return undefined;
};
