import { defined } from '../../../../errors.ts';
import type { Node } from '../../../../onnx/node.ts';
import { channelsAxis, type Axis } from '../axis.ts';
import { fixedSize, type RuleContext } from '../rule.ts';
import type { Surgery } from '../surgery.ts';

/** Reshape [.., g k, ..] to [.., g, k, ..], Transpose of these two, Reshape back: a permutation of one axis. */
interface Shuffle {
  readonly axis: number;
  readonly groups: number;
  readonly inGroup: number;
  readonly transpose: Node;
  readonly merge: Node;
}

export function findShuffle(of: RuleContext): Shuffle | undefined {
  const { around, node } = of;
  const [from, to] = [of.shape(0), of.outputShape()];
  if (from === undefined || to?.length !== from.length + 1) return undefined;
  const axis = to.findIndex((size, at) => size !== from[at]);
  const [groups, inGroup] = [fixedSize(to[axis]), fixedSize(to[axis + 1])];
  if (groups === undefined || inGroup === undefined || groups * inGroup !== from[axis]) return undefined;
  // A rewritten target copies open sizes by place, which is the same on both sides only ahead of the axis.
  if (from.slice(axis).some((size) => typeof size !== 'number')) return undefined;
  // A size that is not known stands for the same one on both sides only where it is named.
  const isSame = (shape: readonly unknown[], other: readonly unknown[]): boolean =>
    shape.length === other.length && shape.every((size, at) => size !== null && size === other[at]);
  if (!isSame(to.toSpliced(axis, 2), from.toSpliced(axis, 1))) return undefined;
  const transpose = onlyUse(of, node.outputs[0]);
  if (transpose?.opType !== 'Transpose' || transpose.domain !== '') return undefined;
  const swapped = [...to.keys()];
  swapped.splice(axis, 2, axis + 1, axis);
  if (transpose.ints('perm')?.join() !== swapped.join()) return undefined;
  const merge = onlyUse(of, transpose.outputs[0]);
  if (merge?.opType !== 'Reshape' || merge.domain !== '' || merge.inputs[0] !== transpose.outputs[0]) return undefined;
  const result = around.shapeOf(merge.outputs[0] ?? '');
  if (result === undefined || !isSame(result, from)) return undefined;
  return { axis, groups, inGroup, transpose, merge };
}

/** The node that alone reads a value. */
function onlyUse({ around }: RuleContext, value: string | undefined): Node | undefined {
  if (value === undefined || around.isGraphOutput(value)) return undefined;
  const [use, ...more] = around.usesOf(value);
  return more.length === 0 && use?.inputIndex === 0 ? use.node : undefined;
}

/** Sets the axes of the shuffled value: channel j g + a is the input's channel a k + j. */
export function shuffleChannels(of: RuleContext, shuffle: Shuffle): void {
  const x = defined(of.input(0), 'Reshape.data');
  const { axis: at, groups, inGroup, transpose, merge } = shuffle;
  const axis = x[at];
  let result: Axis = axis ?? of.fixed('has no such axis');
  if (axis?.kind === 'channels') {
    const permuted = new Int32Array(axis.atoms.length);
    for (let j = 0; j < inGroup; j += 1) {
      for (let a = 0; a < groups; a += 1) permuted[j * groups + a] = axis.atoms[a * inGroup + j] ?? 0;
    }
    result = channelsAxis(permuted);
  }
  const inside = of.fixed('is the inside of a channel shuffle');
  const opened = x.toSpliced(at, 1, inside, inside);
  of.output(0, opened);
  of.around.setAxes(transpose.outputs[0] ?? '', opened);
  of.around.setAxes(merge.outputs[0] ?? '', x.with(at, result));
  of.around.handled.add(transpose).add(merge);
  if (axis?.kind === 'channels' && result.kind === 'channels') {
    of.rewrite((surgery) => rewriteShuffle(of, surgery, { ...shuffle, from: axis, to: result }));
  }
}

interface ShuffleEnds extends Shuffle {
  readonly from: Extract<Axis, { kind: 'channels' }>;
  readonly to: Extract<Axis, { kind: 'channels' }>;
}

/** Where every group lost as many channels, the shuffle stays one; elsewhere one Gather takes its place. */
function rewriteShuffle(of: RuleContext, surgery: Surgery, ends: ShuffleEnds): void {
  const { axis, groups, inGroup, from, to, transpose, merge } = ends;
  if (!surgery.changes(from)) return;
  const rank = new Map(surgery.kept(from).map((position, index) => [position, index]));
  const order = surgery.kept(to).map((position) => {
    const [j, a] = [Math.floor(position / groups), position % groups];
    return defined(rank.get(a * inGroup + j), 'a kept channel of a shuffle');
  });
  const kept = order.length / groups;
  const isShuffle = order.every(
    (source, position) => source === (position % groups) * kept + Math.floor(position / groups),
  );
  if (Number.isInteger(kept) && isShuffle) {
    const sizes = (of.shape(0) ?? []).map((size, at) => (at === axis ? order.length : (fixedSize(size) ?? 0)));
    for (const node of [of.node, merge]) node.attributes.delete('allowzero');
    surgery.setInts(of.node, 1, sizes.toSpliced(axis, 1, groups, kept), 'shape');
    surgery.setInts(merge, 1, sizes, 'shape');
    return;
  }
  of.node.opType = 'Gather';
  of.node.attributes.clear();
  of.node.inputs.length = 1;
  surgery.setAttribute(of.node, 'axis', axis);
  surgery.setInts(of.node, 1, order, 'order');
  of.node.outputs = [...merge.outputs];
  surgery.drop(transpose);
  surgery.drop(merge);
}
