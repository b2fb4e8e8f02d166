import { SeededRandom } from '../../../data/seeded-random.ts';
import type { ChannelGroup, GroupMember } from '../groups/channel-groups.ts';
import type { Graph } from '../../../onnx/graph.ts';
import { distancesAlong, numbersOf, sumsAlong, type Numbers } from './weight-sums.ts';

export const IMPORTANCES = ['l1', 'l2', 'bn-scale', 'fpgm', 'lamp', 'activation', 'random'] as const;
export type Importance = (typeof IMPORTANCES)[number];

/**
 * A score for every channel of every group, over all slices that go with the channel. Normalized by the group's mean (LAMP:
 * by the sum of all that are not smaller), so that groups can be ranked with each other.
 *
 * @returns by group, in order; undefined for a group the importance says nothing about (`bn-scale` without a scale)
 * @see Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, section 3.3, for scores over a group
 */
export function channelScores(
  graph: Graph,
  groups: readonly ChannelGroup[],
  { importance, seed }: { readonly importance: Exclude<Importance, 'activation'>; readonly seed: number },
): (Float64Array | undefined)[] {
  const random = new SeededRandom(seed);
  const values = new Map<string, Numbers>();
  const scorer = new GroupScorer(graph, values);
  return groups.map((group) => {
    switch (importance) {
      case 'random':
        return Float64Array.from(group.roots, () => random.uniform());
      case 'l1':
        return byMean(scorer.magnitude(group, 1));
      case 'l2':
        return byMean(scorer.magnitude(group, 2));
      case 'lamp':
        return lamp(scorer.magnitude(group, 2));
      case 'fpgm':
        return byMean(scorer.medianDistance(group));
      case 'bn-scale':
        return group.members.some(({ role }) => role === 'scale') ? byMean(scorer.scale(group)) : undefined;
    }
  });
}

class GroupScorer {
  readonly #graph: Graph;
  readonly #values: Map<string, Numbers>;

  constructor(graph: Graph, values: Map<string, Numbers>) {
    this.#graph = graph;
    this.#values = values;
  }

  /** Sum of |w|^p over rows, columns and scales. Biases and statistics say nothing about the work a channel does. */
  magnitude(group: ChannelGroup, power: 1 | 2): Float64Array {
    const scores = new Float64Array(group.roots.length);
    for (const member of group.members) {
      if (member.role === 'other') continue;
      this.#add(scores, member, (values, dims) => sumsAlong(values, { dims, axis: member.axis, power }));
    }
    return scores;
  }

  scale(group: ChannelGroup): Float64Array {
    const scores = new Float64Array(group.roots.length);
    for (const member of group.members) {
      if (member.role !== 'scale') continue;
      this.#add(scores, member, (values, dims) => sumsAlong(values, { dims, axis: member.axis, power: 1 }));
    }
    return scores;
  }

  /** Distances between the filters that make the channels. */
  medianDistance(group: ChannelGroup): Float64Array {
    const scores = new Float64Array(group.roots.length);
    for (const member of group.members) {
      if (member.role !== 'output') continue;
      const positions = [...member.channels.keys()].filter((position) => (member.channels[position] ?? -1) >= 0);
      this.#add(scores, member, (values, dims) => {
        const sums = new Float64Array(member.channels.length);
        distancesAlong(values, { dims, axis: member.axis }, positions).forEach((sum, index) => {
          sums[positions[index] ?? 0] = sum;
        });
        return sums;
      });
    }
    return scores;
  }

  #add(
    scores: Float64Array,
    { value, channels }: GroupMember,
    sums: (values: Numbers, dims: readonly number[]) => Float64Array,
  ): void {
    const tensor = this.#graph.initializers.get(value);
    // A constant that a node makes is the same everywhere: it prefers no channel.
    if (tensor === undefined || tensor.dataType === 'string') return;
    let values = this.#values.get(value);
    if (values === undefined) {
      values = numbersOf(tensor);
      this.#values.set(value, values);
    }
    const byPosition = sums(values, tensor.dims);
    for (let position = 0; position < channels.length; position += 1) {
      const channel = channels[position] ?? -1;
      if (channel >= 0) scores[channel] = (scores[channel] ?? 0) + (byPosition[position] ?? 0);
    }
  }
}

function byMean(scores: Float64Array): Float64Array {
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return mean > 0 ? scores.map((score) => score / mean) : scores;
}

/**
 * score_i / sum of the scores that are not smaller: comparable between layers, the largest is 1.
 *
 * @see Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021, equation 1
 */
export function lamp(scores: Float64Array): Float64Array {
  const order = [...scores.keys()].sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
  const result = new Float64Array(scores.length);
  let sum = 0;
  for (const index of order) {
    sum += scores[index] ?? 0;
    result[index] = sum > 0 ? (scores[index] ?? 0) / sum : 0;
  }
  return result;
}
