import type { Axis } from '../axis.ts';
import type { ChannelRule, RuleContext } from '../rule.ts';
import { fixedSize } from '../rule.ts';

/** Axes whose size does not change pass; the others are computed over. */
export const resize: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined) return 'has an input of unknown rank';
  if (of.node.string('coordinate_transformation_mode', '') === 'tf_crop_and_resize') return 'cuts out a region';
  const given = of.node.ints('axes');
  const axes = given?.map((axis) => (axis < 0 ? axis + x.length : axis)) ?? [...x.keys()];
  const sizesInput = of.node.opType === 'Resize' && of.opset >= 11 ? 3 : -1;
  const hasSizes = sizesInput > 0 && of.has(sizesInput);
  const sizes = hasSizes ? of.constant(sizesInput) : undefined;
  const outputs = x.map((axis, at): Axis => {
    if (!axes.includes(at)) return axis;
    const [from, to] = [of.size(0, at), fixedSize(of.outputShape()?.[at])];
    const passes = from !== undefined && from === to && (!hasSizes || sizes !== undefined);
    if (passes || axis.kind === 'fixed') return axis;
    of.freeze(axis, 'resizes this axis, or to a size that is not constant');
    return of.fixed('resizes this axis');
  });
  of.output(0, outputs);
  of.rewrite((surgery) => {
    if (sizes === undefined || !axes.some((at) => surgery.changes(outputs[at]))) return;
    const kept = axes.map((at, index) => surgery.size(outputs[at], sizes[index] ?? 0));
    surgery.setInts(of.node, sizesInput, kept, 'sizes');
  });
  return undefined;
};

/** Axes that are not expanded pass; the target is rewritten where it names their size. */
export const expand: ChannelRule = (of) => {
  const x = of.input(0);
  const out = of.outputShape();
  if (x === undefined || out === undefined) return 'has a target of unknown rank';
  const target = of.constant(1);
  const outputs = out.map((size, at): Axis => {
    const from = at - (out.length - x.length);
    const axis = x[from];
    if (axis === undefined) return of.fixed('expands this axis');
    if (axis.kind === 'fixed') return of.size(0, from) === 1 ? of.fixed('expands this axis') : axis;
    if (target !== undefined && size === axis.atoms.length) return axis;
    of.freeze(axis, 'expands to a shape that is not constant');
    return of.fixed('expands this axis');
  });
  of.output(0, outputs);
  of.rewrite((surgery) => {
    if (target === undefined || !outputs.some((axis) => surgery.changes(axis))) return;
    const kept = target.map((size, index) => {
      const axis = outputs[index + out.length - target.length];
      return size === 1 ? size : surgery.size(axis, size);
    });
    surgery.setInts(of.node, 1, kept, 'shape');
  });
  return undefined;
};

export const tile: ChannelRule = (of) => {
  const x = of.input(0);
  const repeats = of.constant(1);
  if (x === undefined || repeats === undefined) return 'repeats by numbers that are not constant';
  of.output(
    0,
    x.map((axis, at) => {
      if (repeats[at] === 1) return axis;
      of.freeze(axis, 'repeats this axis');
      return of.fixed('repeats this axis');
    }),
  );
  return undefined;
};

/** A tensor of one value: like a weight whose shape is a constant. */
export const constantOfShape: ChannelRule = (of) => {
  const shape = of.constant(0);
  const out = of.outputShape();
  if (shape === undefined || out === undefined) return undefined;
  const axes = shape.map((size): Axis =>
    size > 1 ? { kind: 'channels', atoms: of.around.atoms.fresh(size) } : of.fixed('makes one position'),
  );
  of.output(0, axes);
  of.rewrite((surgery) => {
    if (!axes.some((axis) => surgery.changes(axis))) return;
    const kept = shape.map((size, index) => surgery.size(axes[index], size));
    surgery.setInts(of.node, 0, kept, 'shape');
  });
  return undefined;
};

/** The sizes of a value: axes that somebody may read the size of must keep it. */
export const shape: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined) return undefined;
  const read = readAxes(of, x.length);
  of.freeze(
    x.filter((_, axis) => read.has(axis)),
    'gives its size to others',
  );
  of.output(0, [of.fixed('is a list of sizes')]);
  return undefined;
};

function readAxes(of: RuleContext, rank: number): ReadonlySet<number> {
  const all = [...Array(rank).keys()].slice(
    of.node.int('start', 0),
    of.node.attributes.has('end') ? of.node.int('end', rank) : rank,
  );
  const output = of.node.outputs[0] ?? '';
  const read = new Set<number>();
  for (const { node, inputIndex } of of.around.usesOf(output)) {
    const indices =
      node.opType === 'Gather' && inputIndex === 0 ? of.around.constantOf(node.inputs[1] ?? '') : undefined;
    for (const axis of indices?.map((index) => all.at(index)) ?? all) if (axis !== undefined) read.add(axis);
  }
  return of.around.isGraphOutput(output) ? new Set(all) : read;
}

export const size: ChannelRule = (of) => {
  of.freeze(of.input(0), 'counts its elements');
  of.output(0, []);
  return undefined;
};

/** Values that no channel goes into: random numbers, ranges, positions. */
export const source: ChannelRule = (of) => {
  for (let index = 0; index < of.node.inputs.length; index += 1) of.freeze(of.input(index), 'reads it as a number');
  return undefined;
};
