import type { Model } from '../../../onnx/model.ts';
import type { ChannelAnalysis } from './analyze-channels.ts';
import type { Axis } from './axis.ts';
import type { ChannelGroup } from './channel-groups.ts';

export interface Narrowed {
  /** Of the pruned model; roots are those of the whole one. Not for another removal: there is nothing to rewrite. */
  readonly analysis: ChannelAnalysis;
  /** One for each group of the whole model, with the channels that are left. */
  readonly groups: readonly ChannelGroup[];
  /** By group: the channel's index in the whole model's group, for each that is left. */
  readonly indices: readonly Int32Array[];
}

/**
 * What is known of a model's channels, in the positions of the model that has lost some of them: each channel keeps its
 * identity over any number of steps.
 *
 * @param removed - by root atom: 1 where the channel is gone
 * @param pruned - the model without them
 */
export function narrow(
  { axes, atoms, types }: ChannelAnalysis,
  groups: readonly ChannelGroup[],
  removed: Uint8Array,
  pruned: Model,
): Narrowed {
  const isLeft = (atom: number): boolean => removed[atoms.root(atom)] !== 1;
  // Values that share an array of positions go on sharing one.
  const known = new Map<Int32Array, Axis>();
  const narrowAxis = (axis: Axis): Axis => {
    if (axis.kind === 'fixed') return axis;
    const narrowed = known.get(axis.atoms) ?? { kind: 'channels', atoms: axis.atoms.filter(isLeft) };
    known.set(axis.atoms, narrowed);
    return narrowed;
  };
  const indices = groups.map(({ roots }) =>
    Int32Array.from([...roots.keys()].filter((channel) => removed[roots[channel] ?? 0] !== 1)),
  );
  return {
    analysis: {
      model: pruned,
      types,
      atoms,
      axes: new Map([...axes].map(([value, own]) => [value, own.map(narrowAxis)])),
      rewrites: [],
    },
    groups: groups.map((group, index) => {
      const left = indices[index] ?? new Int32Array(0);
      const renumbered = new Int32Array(group.roots.length).fill(-1);
      left.forEach((channel, at) => (renumbered[channel] = at));
      const members = group.members.map((member) => {
        const axis = axes.get(member.value)?.[member.axis];
        const channels = member.channels.filter((_, at) => axis?.kind !== 'channels' || isLeft(axis.atoms[at] ?? 0));
        return { ...member, channels: channels.map((channel) => (channel < 0 ? -1 : (renumbered[channel] ?? -1))) };
      });
      return { ...group, roots: Int32Array.from(left, (channel) => group.roots[channel] ?? 0), members };
    }),
    indices,
  };
}
