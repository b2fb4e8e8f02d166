import { describeNode, type Node } from '../../../onnx/node.ts';
import type { ChannelAnalysis } from './analyze-channels.ts';
import type { Axis } from './axis.ts';
import { roleOf, type WeightRole } from './weight-role.ts';

/** One axis of one initializer (or other constant) that has channels of a group. */
export interface GroupMember {
  readonly value: string;
  readonly axis: number;
  /** The node that reads it first, and what the axis is there. */
  readonly node: Node;
  readonly role: WeightRole;
  /** Channel of the group at each position; -1 where the position is not of the group. */
  readonly channels: Int32Array;
}

/** Channels with the same topology: they lie in the same axes everywhere, so they can be ranked with each other. */
export interface ChannelGroup {
  /** Number in order of first use in the graph. */
  readonly id: number;
  /** Root atom by channel. */
  readonly roots: Int32Array;
  readonly members: readonly GroupMember[];
  /** Equal for groups whose channels pass through the same kinds of layers. */
  readonly signature: string;
}

/** Channels that stay, by the layer that makes them. */
export interface FrozenLayer {
  readonly node: Node;
  readonly channels: number;
  readonly reason: string;
}

export interface ChannelGroups {
  readonly groups: readonly ChannelGroup[];
  readonly frozen: readonly FrozenLayer[];
}

/**
 * The groups of an analysis. Two channels are of one group when they occur in the same axes, of weights and of values
 * alike; so keeping one channel of each group leaves no axis empty. Single channels make no group: they have to stay.
 * O(positions).
 */
export function channelGroups(analysis: ChannelAnalysis): ChannelGroups {
  const { atoms } = analysis;
  const instances = distinctPositions(analysis);
  const [low, high] = hashRoots(analysis, instances);

  const groupOfRoot = new Int32Array(atoms.count).fill(-1);
  const indexOfRoot = new Int32Array(atoms.count).fill(-1);
  const roots: number[][] = [];
  const byHash = new Map<string, number>();
  for (const positions of instances) {
    for (const atom of positions) {
      const root = atoms.root(atom);
      if (groupOfRoot[root] !== -1 || atoms.frozenReason(root) !== undefined) continue;
      const key = `${low[root] ?? 0} ${high[root] ?? 0}`;
      let group = byHash.get(key);
      if (group === undefined) {
        group = roots.length;
        byHash.set(key, group);
        roots.push([]);
      }
      groupOfRoot[root] = group;
      indexOfRoot[root] = roots[group]?.push(root) ?? 0;
    }
  }
  // `push` gives the new length: one more than the index.
  for (let i = 0; i < indexOfRoot.length; i += 1)
    if ((indexOfRoot[i] ?? -1) > 0) indexOfRoot[i] = (indexOfRoot[i] ?? 0) - 1;

  const members: GroupMember[][] = roots.map(() => []);
  const frozen = new Map<Node, FrozenLayer>();
  for (const { value, axis, at, node, role } of weightAxes(analysis)) {
    if (axis.kind === 'fixed') {
      if (role === 'output' && axis.reason !== '') note(frozen, node, 1, axis.reason);
      continue;
    }
    const byGroup = new Map<number, Int32Array>();
    const { length } = axis.atoms;
    for (let i = 0; i < length; i += 1) {
      const root = atoms.root(axis.atoms[i] ?? 0);
      const group = groupOfRoot[root] ?? -1;
      if (group < 0) {
        const reason = atoms.frozenReason(root);
        if (role === 'output' && reason !== undefined) note(frozen, node, 1, reason);
        continue;
      }
      let channels = byGroup.get(group);
      if (channels === undefined) {
        channels = new Int32Array(length).fill(-1);
        byGroup.set(group, channels);
      }
      channels[i] = indexOfRoot[root] ?? -1;
    }
    for (const [group, channels] of byGroup) members[group]?.push({ value, axis: at, node, role, channels });
  }

  const groups: ChannelGroup[] = [];
  roots.forEach((list, index) => {
    const own = members[index] ?? [];
    const maker = own.find(({ role }) => role === 'output');
    if (list.length === 1) {
      if (maker !== undefined) note(frozen, maker.node, 1, 'all its channels stand and fall together');
      return;
    }
    if (own.length === 0) return;
    groups.push({ id: groups.length, roots: Int32Array.from(list), members: own, signature: signatureOf(own) });
  });
  return { groups, frozen: [...frozen.values()] };
}

function note(frozen: Map<Node, FrozenLayer>, node: Node, channels: number, reason: string): void {
  const known = frozen.get(node);
  frozen.set(
    node,
    known === undefined ? { node, channels, reason } : { ...known, channels: known.channels + channels },
  );
}

/** The position arrays of all axes, each once, in order of first use. */
function distinctPositions({ axes }: ChannelAnalysis): Int32Array[] {
  const seen = new Set<Int32Array>();
  for (const value of axes.values()) for (const axis of value) if (axis.kind === 'channels') seen.add(axis.atoms);
  return [...seen];
}

/** A 62-bit hash by root of the set of axes it occurs in. */
function hashRoots({ atoms }: ChannelAnalysis, instances: readonly Int32Array[]): [Int32Array, Int32Array] {
  const low = new Int32Array(atoms.count);
  const high = new Int32Array(atoms.count);
  const seenIn = new Int32Array(atoms.count).fill(-1);
  instances.forEach((positions, instance) => {
    for (const atom of positions) {
      const root = atoms.root(atom);
      if (seenIn[root] === instance) continue;
      seenIn[root] = instance;
      low[root] = Math.imul((low[root] ?? 0) ^ (instance + 1), 0x9e3779b1) ^ ((low[root] ?? 0) >>> 15);
      high[root] = Math.imul((high[root] ?? 0) + instance + 1, 0x85ebca6b) ^ ((high[root] ?? 0) >>> 13);
    }
  });
  return [low, high];
}

interface WeightAxis {
  readonly value: string;
  readonly axis: Axis;
  readonly at: number;
  readonly node: Node;
  readonly role: WeightRole;
}

/** Every axis of every constant that the analysis followed, with its first reader. */
function* weightAxes({ model, axes }: ChannelAnalysis): Generator<WeightAxis> {
  const done = new Set<string>();
  const made = new Set<string>();
  for (const node of model.graph.nodes) {
    if (node.opType === 'ConstantOfShape' && node.domain === '') for (const output of node.outputs) made.add(output);
    for (const [index, value] of node.inputs.entries()) {
      if (done.has(value) || (!model.graph.initializers.has(value) && !made.has(value))) continue;
      const own = axes.get(value);
      if (own === undefined) continue;
      done.add(value);
      for (const [at, axis] of own.entries())
        yield { value, axis, at, node, role: roleOf(node, index, { at, rank: own.length }) };
    }
  }
}

/** Kinds of layers with the role of the channels in each; how often does not count. */
function signatureOf(members: readonly GroupMember[]): string {
  const kinds = new Set(members.map(({ node, role }) => `${node.domain}:${node.opType}.${role}`));
  return [...kinds].sort().join(' ');
}

/** By root atom: 1 for these channels of each group. */
export function markChannels(
  groups: readonly Pick<ChannelGroup, 'roots'>[],
  channels: readonly (readonly number[])[],
  atoms: number,
): Uint8Array {
  const marks = new Uint8Array(atoms);
  channels.forEach((own, index) => {
    for (const channel of own) marks[groups[index]?.roots[channel] ?? 0] = 1;
  });
  return marks;
}

/** A name for people: the first layer that makes the channels. */
export function groupName({ members, id }: ChannelGroup): string {
  const maker = members.find(({ role }) => role === 'output') ?? members[0];
  return maker === undefined ? `group ${id}` : describeNode(maker.node);
}
