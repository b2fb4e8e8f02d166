import { fixedAxis, type Axis } from '../axis.ts';
import type { ChannelRule, RuleContext } from '../rule.ts';
import { fixedSize } from '../rule.ts';

interface AxisSlice {
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

/** The positions that a slice keeps; with a step other than 1 it becomes a Gather when channels go. */
export const slice: ChannelRule = (of) => {
  const x = of.input(0);
  const bounds = boundsOf(of);
  if (x === undefined) return 'has an input of unknown rank';
  if (bounds === undefined) return 'cuts at positions that are not constant';
  const slices = new Map<number, AxisSlice | undefined>();
  bounds.axes.forEach((given, index) => {
    const axis = given < 0 ? given + x.length : given;
    slices.set(axis, sliceOf(of, axis, { start: bounds.starts[index] ?? 0, step: bounds.steps[index] ?? 1 }));
  });
  const outputs = x.map((axis, at): Axis => {
    if (!slices.has(at) || axis.kind === 'fixed') return axis;
    const cut = slices.get(at);
    if (cut === undefined || (cut.step !== 1 && slices.size > 1)) {
      of.freeze(axis, 'cuts this axis in a way that cannot be rewritten');
      return of.fixed('cuts this axis in a way that cannot be rewritten');
    }
    return of.take(axis, { from: cut.start, count: cut.count, step: cut.step });
  });
  of.output(0, outputs);
  rewriteSlice(of, x, { slices, axes: bounds.axes });
  return undefined;
};

function rewriteSlice(
  of: RuleContext,
  x: readonly Axis[],
  { slices, axes }: { slices: ReadonlyMap<number, AxisSlice | undefined>; axes: readonly number[] },
): void {
  of.rewrite((surgery) => {
    const changed = [...slices].filter(([axis]) => surgery.changes(x[axis]));
    if (changed.length === 0) return;
    const { node } = of;
    const bounds = boundsOf(of);
    if (bounds === undefined) return;
    const [starts, ends] = [[...bounds.starts], [...bounds.ends]];
    for (const [at, cut] of changed) {
      const axis = x[at];
      if (axis?.kind !== 'channels' || cut === undefined) continue;
      const rank = new Map(surgery.kept(axis).map((position, index) => [position, index]));
      const kept: number[] = [];
      for (let i = 0; i < cut.count; i += 1) {
        const index = rank.get(cut.start + i * cut.step);
        if (index !== undefined) kept.push(index);
      }
      if (cut.step !== 1) {
        node.opType = 'Gather';
        node.inputs.length = 1;
        node.attributes.clear();
        surgery.setAttribute(node, 'axis', at);
        surgery.setInts(node, 1, kept, 'indices');
        return;
      }
      const index = axes.findIndex((given) => (given < 0 ? given + x.length : given) === at);
      starts[index] = kept[0] ?? 0;
      ends[index] = (kept[0] ?? 0) + kept.length;
    }
    if (of.opset < 10) {
      surgery.setAttribute(node, 'starts', starts);
      surgery.setAttribute(node, 'ends', ends);
      return;
    }
    surgery.setInts(node, 1, starts, 'starts');
    surgery.setInts(node, 2, ends, 'ends');
    // Of one integer type all: the old axes and steps may be int32.
    surgery.setInts(node, 3, axes, 'axes');
    if (of.has(4)) surgery.setInts(node, 4, bounds.steps, 'steps');
  });
}

function boundsOf(of: RuleContext) {
  if (of.opset < 10) {
    const [starts, ends] = [of.node.ints('starts'), of.node.ints('ends')];
    if (starts === undefined || ends === undefined) return undefined;
    return { starts, ends, axes: of.node.ints('axes') ?? [...starts.keys()], steps: starts.map(() => 1) };
  }
  const [starts, ends] = [of.constant(1), of.constant(2)];
  const axes = of.has(3) ? of.constant(3) : [...(starts ?? []).keys()];
  const steps = of.has(4) ? of.constant(4) : starts?.map(() => 1);
  if (starts === undefined || ends === undefined || axes === undefined || steps === undefined) return undefined;
  return { starts, ends, axes, steps };
}

/** Start and step as counted from the front; undefined where a size is not known. */
function sliceOf(of: RuleContext, axis: number, given: { start: number; step: number }): AxisSlice | undefined {
  const [size, count] = [of.size(0, axis), fixedSize(of.outputShape()?.[axis])];
  if (size === undefined || count === undefined || given.step === 0) return undefined;
  const fromFront = given.start < 0 ? given.start + size : given.start;
  const start = Math.min(Math.max(fromFront, 0), given.step > 0 ? size : size - 1);
  return { start, step: given.step, count };
}

/** Channels that padding makes hold the padding's constant; they may go like others. */
export const pad: ChannelRule = (of) => {
  const x = of.input(0);
  const given = of.opset < 11 ? of.node.ints('pads') : of.constant(1);
  if (x === undefined) return 'has an input of unknown rank';
  if (given === undefined) return 'pads by amounts that are not constant';
  const axes = of.has(3) ? of.constant(3) : [...x.keys()];
  if (axes === undefined) return 'pads axes that are not constant';
  const begin = new Map<number, number>();
  const end = new Map<number, number>();
  axes.forEach((axis, index) => {
    begin.set(axis < 0 ? axis + x.length : axis, given[index] ?? 0);
    end.set(axis < 0 ? axis + x.length : axis, given[index + axes.length] ?? 0);
  });
  const isConstant = of.node.string('mode', 'constant') === 'constant';
  const outputs = x.map((axis, at): Axis => {
    const [before, after] = [begin.get(at) ?? 0, end.get(at) ?? 0];
    if ((before === 0 && after === 0) || (axis.kind === 'fixed' && of.size(0, at) === undefined)) return axis;
    if (axis.kind === 'fixed' || !isConstant || before < 0 || after < 0) {
      of.freeze(axis, 'pads this axis in a way that cannot be rewritten');
      return axis.kind === 'fixed' ? axis : fixedAxis(`${of.name} pads this axis in a way that cannot be rewritten`);
    }
    const { atoms } = of.around;
    const joined = new Int32Array(before + axis.atoms.length + after);
    joined.set(atoms.fresh(before), 0);
    joined.set(axis.atoms, before);
    joined.set(atoms.fresh(after), before + axis.atoms.length);
    return { kind: 'channels', atoms: joined };
  });
  of.output(0, outputs);
  of.rewrite((surgery) => {
    if (!outputs.some((axis) => surgery.changes(axis))) return;
    const pads = [...given];
    axes.forEach((axisGiven, index) => {
      const at = axisGiven < 0 ? axisGiven + x.length : axisGiven;
      const [from, to] = [x[at], outputs[at]];
      if (from?.kind !== 'channels' || to?.kind !== 'channels') return;
      const [before, inner] = [begin.get(at) ?? 0, from.atoms.length];
      const kept = surgery.kept(to);
      pads[index] = kept.filter((position) => position < before).length;
      pads[index + axes.length] = kept.filter((position) => position >= before + inner).length;
    });
    if (of.opset < 11) surgery.setAttribute(of.node, 'pads', pads);
    else surgery.setInts(of.node, 1, pads, 'pads');
  });
  return undefined;
};
