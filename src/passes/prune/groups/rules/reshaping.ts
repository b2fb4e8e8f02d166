import { pick, repeatAll, repeatEach, SINGLE, type Axes, type Axis } from '../axis.ts';
import { fixedSize, type ChannelRule, type RuleContext } from '../rule.ts';
import type { Surgery } from '../surgery.ts';
import { factorBlocks, type Block } from './reshape-blocks.ts';
import { findShuffle, shuffleChannels } from './channel-shuffle.ts';

/** Axes by block of axes that hold the same elements; the target is rewritten. */
export const reshape: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined || of.outputShape() === undefined) return 'has a shape of unknown rank';
  const target = rewritableTarget(of);
  if (target === undefined) return 'has a target shape with several unknown sizes';
  const shuffle = findShuffle(of);
  if (shuffle !== undefined) {
    shuffleChannels(of, shuffle);
    return undefined;
  }
  const outputs = regroup(of);
  of.rewrite((surgery) => rewriteTarget(of, surgery, { x, outputs, target }));
  return undefined;
};

/** Flatten has no target to rewrite: its sizes follow. */
export const flatten: ChannelRule = (of) => {
  if (of.input(0) === undefined || of.outputShape() === undefined) return 'has a shape of unknown rank';
  regroup(of);
  return undefined;
};

/** [N, C b b, H, W] to [N, C, H b, W b]: the b b channels of one output channel go together. */
export const depthToSpace: ChannelRule = (of) => {
  const [x, channels, b] = [of.input(0), of.size(0, 1), of.node.int('blocksize', 1)];
  if (x?.[1] === undefined || channels === undefined) return 'has an input of unknown size';
  const count = channels / (b * b);
  const isColumnRow = of.node.string('mode', 'DCR') === 'CRD';
  const out = isColumnRow ? pick(x[1], { from: 0, count, step: b * b }) : pick(x[1], { from: 0, count });
  if (out.kind === 'fixed') of.freeze(x[1], 'makes one channel of them');
  else of.couple(x[1], isColumnRow ? repeatEach(out, b * b) : repeatAll(out, b * b));
  moveSpace(of, x, out);
  return undefined;
};

/** [N, C, H, W] to [N, b b C, H/b, W/b]: position p C + c holds channel c. */
export const spaceToDepth: ChannelRule = (of) => {
  const [x, b] = [of.input(0), of.node.int('blocksize', 1)];
  if (x?.[1] === undefined) return 'has an input of unknown size';
  const isSingle = of.size(0, 1) === 1;
  moveSpace(of, x, isSingle ? of.fixed('makes its channels of positions') : repeatAll(x[1], b * b));
  return undefined;
};

function moveSpace(of: RuleContext, x: Axes, out: Axis): void {
  of.freeze(x.slice(2), 'moves positions between axes');
  of.output(0, [x[0] ?? SINGLE, out, ...x.slice(2).map(() => of.fixed('moves positions between axes'))]);
}

/** Sizes of the target, each with what to write when it stays: undefined where two sizes or more are open. */
function rewritableTarget(of: RuleContext): readonly number[] | undefined {
  const constant = of.constant(1);
  if (constant !== undefined) return constant;
  const [from, to] = [of.shape(0) ?? [], of.outputShape() ?? []];
  let open = 0;
  const target = to.map((size, axis) => {
    if (typeof size === 'number') return size;
    if (size !== null && size === from[axis] && of.node.int('allowzero', 0) === 0) return 0;
    open += 1;
    return -1;
  });
  return open > 1 ? undefined : target;
}

function rewriteTarget(
  of: RuleContext,
  surgery: Surgery,
  { x, outputs, target }: { x: Axes; outputs: Axes; target: readonly number[] },
): void {
  if (![...x, ...outputs].some((axis) => surgery.changes(axis))) return;
  const kept = target.map((size, axis) => {
    if (surgery.changes(outputs[axis])) return size === -1 ? -1 : surgery.size(outputs[axis], size);
    // 0 copies the size at the same place of the input, which may be another axis.
    const same = fixedSize(of.outputShape()?.[axis]);
    return size === 0 && surgery.changes(x[axis]) && same !== undefined ? same : size;
  });
  surgery.setInts(of.node, 1, kept, 'shape');
}

function regroup(of: RuleContext): Axes {
  const [from, to] = [of.shape(0) ?? [], of.outputShape() ?? []];
  const outputs = to.map((): Axis => SINGLE);
  for (const block of factorBlocks(from, to)) {
    const axes = regroupBlock(of, block);
    block.outputs.forEach((at, index) => {
      outputs[at] = axes[index] ?? of.fixed('mixes the positions of several axes');
    });
  }
  of.output(0, outputs);
  return outputs;
}

/** Output axes of one block. */
function regroupBlock(of: RuleContext, block: Block): readonly Axis[] {
  const x = of.input(0) ?? [];
  const inputs = block.inputs.map((at) => x[at] ?? SINGLE);
  const [first] = inputs;
  const mixed = of.fixed('mixes the positions of several axes');
  if (first === undefined || !block.isKnown) {
    of.freeze(inputs, 'mixes the positions of several axes');
    return block.outputs.map(() => mixed);
  }
  const [from, to] = [
    block.inputs.map((at) => of.size(0, at) ?? 0),
    block.outputs.map((at) => fixedSize(of.outputShape()?.[at]) ?? 0),
  ];
  if (inputs.length === 1 && to.length === 1) return [first];
  if (to.length === 1) return [merge(of, inputs, from)];
  if (inputs.length === 1) return splitAxis(of, first, { sizes: to, block });
  return regroupFirst(of, inputs, { from, to });
}

/** Several axes to one. The axis with channels decides; of two, the larger. */
function merge(of: RuleContext, inputs: readonly Axis[], sizes: readonly number[]): Axis {
  let carrier = -1;
  inputs.forEach((axis, index) => {
    if (axis.kind === 'fixed' || isFrozen(of, axis)) return;
    if (carrier < 0 || (sizes[index] ?? 0) > (sizes[carrier] ?? 0)) carrier = index;
  });
  inputs.forEach((axis, index) => {
    if (index !== carrier) of.freeze(axis, 'merges this axis with others');
  });
  const axis = inputs[carrier];
  if (axis === undefined) return of.fixed('merges axes that stay');
  const inner = sizes.slice(carrier + 1).reduce((product, size) => product * size, 1);
  const outer = sizes.slice(0, carrier).reduce((product, size) => product * size, 1);
  return repeatAll(repeatEach(axis, inner), outer);
}

/** One axis to several: one of them carries the channels, the positions along the others go together. */
function splitAxis(
  of: RuleContext,
  axis: Axis,
  { sizes, block }: { readonly sizes: readonly number[]; readonly block: Block },
): Axis[] {
  const rest = of.fixed('splits channels into blocks along this axis');
  if (axis.kind === 'fixed') return sizes.map(() => axis);
  const carrier = sizes.findIndex((_, index) => variesOnlyAlong(of, axis.atoms, sizes, index));
  const chosen = carrier >= 0 ? carrier : defaultCarrier(of, sizes.length, block);
  const inner = sizes.slice(chosen + 1).reduce((product, size) => product * size, 1);
  const outer = sizes.slice(0, chosen).reduce((product, size) => product * size, 1);
  const own = pick(axis, { from: 0, count: sizes[chosen] ?? 0, step: inner });
  of.couple(axis, repeatAll(repeatEach(own, inner), outer));
  return sizes.map((_, index) => (index === chosen ? own : rest));
}

/** Heads of tokens [N, T, heads d] are split off ahead of their features; channels [N, C h w] come first. */
function defaultCarrier(of: RuleContext, parts: number, block: Block): number {
  const isLast = block.inputs[0] === (of.shape(0)?.length ?? 0) - 1;
  return isLast && (block.inputs[0] ?? 0) >= 2 ? parts - 2 : 0;
}

/** True when positions that differ only along the other axes are one atom already. */
function variesOnlyAlong(of: RuleContext, positions: Int32Array, sizes: readonly number[], along: number): boolean {
  const { atoms } = of.around;
  const inner = sizes.slice(along + 1).reduce((product, size) => product * size, 1);
  const count = sizes[along] ?? 1;
  for (let i = 0; i < positions.length; i += 1) {
    const own = (Math.floor(i / inner) % count) * inner;
    if (atoms.root(positions[i] ?? 0) !== atoms.root(positions[own] ?? 0)) return false;
  }
  return true;
}

/** Several axes to several, where the first of both sides holds whole positions of the other: [C, H, W] to [G, C/G H W]. */
function regroupFirst(
  of: RuleContext,
  inputs: readonly Axis[],
  { from, to }: { from: readonly number[]; to: readonly number[] },
): Axis[] {
  const [first, ...others] = inputs;
  const [a = 1, b = 1] = [from[0], to[0]];
  const mixed = of.fixed('mixes the positions of several axes');
  of.freeze(others, 'mixes the positions of several axes');
  let own: Axis = mixed;
  if (first?.kind === 'channels' && a % b === 0) {
    own = pick(first, { from: 0, count: b, step: a / b });
    of.couple(first, repeatEach(own, a / b));
  } else if (first?.kind === 'channels' && b % a === 0) own = repeatEach(first, b / a);
  else of.freeze(first, 'mixes the positions of several axes');
  return to.map((_, index) => (index === 0 ? own : mixed));
}

function isFrozen(of: RuleContext, axis: Extract<Axis, { kind: 'channels' }>): boolean {
  return axis.atoms.every((atom) => of.around.atoms.frozenReason(atom) !== undefined);
}
