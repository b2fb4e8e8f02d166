import { channelsAxis, positionsOf, SINGLE, type Axis } from '../axis.ts';
import { fixedSize, type ChannelRule, type RuleContext } from '../rule.ts';

export const transpose: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined) return 'has an input of unknown rank';
  const perm = of.node.ints('perm') ?? [...x.keys()].reverse();
  of.output(
    0,
    perm.map((from) => x[from] ?? of.fixed('has no such axis')),
  );
  return undefined;
};

export const squeeze: ChannelRule = (of) => {
  const x = of.input(0);
  const axes = of.integers('axes', 1);
  if (x === undefined || axes === undefined) return 'squeezes unknown axes';
  const gone =
    axes === 'absent'
      ? new Set([...x.keys()].filter((axis) => of.size(0, axis) === 1))
      : new Set(axes.map((axis) => (axis < 0 ? axis + x.length : axis)));
  of.output(
    0,
    x.filter((_, axis) => !gone.has(axis)),
  );
  return undefined;
};

export const unsqueeze: ChannelRule = (of) => {
  const x = of.input(0);
  const axes = of.integers('axes', 1);
  if (x === undefined || axes === undefined || axes === 'absent') return 'inserts unknown axes';
  const rank = x.length + axes.length;
  const inserted = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  let from = 0;
  of.output(
    0,
    Array.from({ length: rank }, (_, axis) => (inserted.has(axis) ? SINGLE : (x[from++] ?? SINGLE))),
  );
  return undefined;
};

/** Along its axis the output's channels are those of the inputs one after the other; the other axes are coupled. */
export const concat: ChannelRule = (of) => {
  const inputs = of.node.inputs.map((_, index) => of.input(index));
  const [first] = inputs;
  const at = first === undefined ? undefined : of.axis(of.node.int('axis', 1), first.length);
  if (first === undefined || at === undefined) return 'has an input of unknown rank';
  const sizes = inputs.map((_, index) => of.size(index, at));
  const axes = first.map((own, axis): Axis => {
    if (axis !== at) return inputs.reduce<Axis>((result, input) => of.couple(result, input?.[axis]), own);
    if (inputs.length === 1) return own;
    const parts = inputs.map((input) => input?.[axis]);
    const isKnown = sizes.every((size) => size !== undefined) && parts.every((part) => part !== undefined);
    if (!isKnown || parts.every((part) => part.kind === 'fixed')) {
      for (const part of parts) of.freeze(part, 'joins values of unknown size');
      return of.fixed('joins values whose sizes stay');
    }
    const { atoms } = of.around;
    const positions = parts.map((part, index) => positionsOf(part, sizes[index] ?? 0, atoms));
    const joined = new Int32Array(positions.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of positions) {
      joined.set(part, offset);
      offset += part.length;
    }
    return channelsAxis(joined);
  });
  of.output(0, axes);
  return undefined;
};

export const split: ChannelRule = (of) => {
  const x = of.input(0);
  const at = x === undefined ? undefined : of.axis(of.node.int('axis', 0), x.length);
  const axis = x?.[at ?? 0];
  if (x === undefined || at === undefined || axis === undefined) return 'has an input of unknown rank';
  const sizes = of.node.outputs.map((_, index) => fixedSize(of.outputShape(index)?.[at]));
  if (!sizes.every((size) => size !== undefined)) {
    of.freeze(axis, 'splits into unknown sizes');
    of.node.outputs.forEach((_, index) => of.output(index, x.with(at, of.fixed('splits into unknown sizes'))));
    return undefined;
  }
  let from = 0;
  const parts = sizes.map((count, index) => {
    const part = of.take(axis, { from, count });
    from += count;
    of.output(index, x.with(at, part));
    return part;
  });
  of.rewrite((surgery) => {
    if (!surgery.changes(axis)) return;
    const kept = parts.map((part, index) => surgery.size(part, sizes[index] ?? 0));
    of.node.attributes.delete('num_outputs');
    if (of.opset < 13) surgery.setAttribute(of.node, 'split', kept);
    else surgery.setInts(of.node, 1, kept, 'split');
  });
  return undefined;
};

/** With constant indices the positions are picked; otherwise the axis stays as it is. */
export const gather: ChannelRule = (of) => {
  const [x, indices] = [of.input(0), of.input(1)];
  const at = x === undefined ? undefined : of.axis(of.node.int('axis', 0), x.length);
  const axis = x?.[at ?? 0];
  if (x === undefined || indices === undefined || at === undefined || axis === undefined)
    return 'has an input of unknown rank';
  const [constant, size] = [of.constant(1), of.size(0, at)];
  let middle: readonly Axis[] = indices;
  if (axis.kind === 'channels') {
    const from = constant?.map((index) => (index < 0 ? index + (size ?? 0) : index));
    if (from === undefined || indices.length !== 1) of.freeze(axis, 'picks positions of this axis');
    else middle = [gathered(of, axis, from)];
  }
  of.output(0, [...x.slice(0, at), ...middle, ...x.slice(at + 1)]);
  return undefined;
};

function gathered(of: RuleContext, axis: Extract<Axis, { kind: 'channels' }>, from: readonly number[]): Axis {
  const result = channelsAxis(Int32Array.from(from, (index) => axis.atoms[index] ?? 0));
  // One position is not followed further, so it has to stay.
  if (result.kind === 'fixed') of.freeze(axis, 'picks one position of this axis');
  of.rewrite((surgery) => {
    if (!surgery.changes(axis)) return;
    const rank = new Map(surgery.kept(axis).map((position, index) => [position, index]));
    const kept = from.flatMap((position) => rank.get(position) ?? []);
    surgery.setInts(of.node, 1, kept, 'indices');
  });
  return result;
}
