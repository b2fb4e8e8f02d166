import { SeededRandom } from '../../../data/seeded-random.ts';
import type { ChannelGroup, GroupMember } from '../groups/channel-groups.ts';
import type { Graph } from '../../../onnx/graph.ts';
import { addByChannel, byMean, distancesAlong, numbersOf, sumsAlong, type Numbers, type Term } from './weight-sums.ts';

/** Importances that need nothing but the weights. */
export type WeightImportance = 'l1' | 'l2' | 'bn-scale' | 'fpgm' | 'lamp' | 'random';

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
  { importance, seed }: { readonly importance: WeightImportance; readonly seed: number },
): (Float64Array | undefined)[] {
  const random = new SeededRandom(seed);
  const scorer = new GroupScorer(graph);
  return groups.map((group) => {
    switch (importance) {
      case 'random':
        return Float64Array.from(group.roots, () => random.uniform());
      case 'l1':
        return byMean(scorer.magnitude(group, 'magnitude'));
      case 'l2':
        return byMean(scorer.magnitude(group, 'square'));
      case 'lamp':
        return lamp(scorer.magnitude(group, 'square'));
      case 'fpgm':
        return byMean(scorer.medianDistance(group));
      case 'bn-scale':
        return group.members.some(({ role }) => role === 'scale') ? byMean(scorer.scale(group)) : undefined;
    }
  });
}

class GroupScorer {
  readonly #graph: Graph;
  readonly #values = new Map<string, Numbers>();
  /** By axis: many groups can lie in one, as in the layers behind a long concatenation. */
  readonly #sums = new Map<string, Float64Array>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** Sum of |w|^p over rows, columns and scales. Biases and statistics say nothing about the work a channel does. */
  magnitude(group: ChannelGroup, term: Term): Float64Array {
    const scores = new Float64Array(group.roots.length);
    for (const member of group.members) {
      if (member.role === 'other') continue;
      this.#addSums(scores, member, term);
    }
    return scores;
  }

  scale(group: ChannelGroup): Float64Array {
    const scores = new Float64Array(group.roots.length);
    for (const member of group.members) {
      if (member.role !== 'scale') continue;
      this.#addSums(scores, member, 'magnitude');
    }
    return scores;
  }

  /** Distances between the filters that make the channels. */
  medianDistance(group: ChannelGroup): Float64Array {
    const scores = new Float64Array(group.roots.length);
    for (const member of group.members) {
      if (member.role !== 'output') continue;
      const positions = [...member.channels.keys()].filter((position) => (member.channels[position] ?? -1) >= 0);
      const read = this.#read(member);
      if (read === undefined) continue;
      const sums = new Float64Array(member.channels.length);
      distancesAlong(read.values, { dims: read.dims, axis: member.axis }, positions).forEach((sum, index) => {
        sums[positions[index] ?? 0] = sum;
      });
      addByChannel(scores, member, sums);
    }
    return scores;
  }

  #addSums(scores: Float64Array, member: GroupMember, term: Term): void {
    const { value, axis } = member;
    const key = `${term} ${axis} ${value}`;
    let sums = this.#sums.get(key);
    if (sums === undefined) {
      const read = this.#read(member);
      if (read === undefined) return;
      sums = sumsAlong(read.values, { dims: read.dims, axis, term });
      this.#sums.set(key, sums);
    }
    addByChannel(scores, member, sums);
  }

  /** Undefined for a constant that a node makes: it is the same everywhere, and prefers no channel. */
  #read({ value }: GroupMember): { readonly values: Numbers; readonly dims: readonly number[] } | undefined {
    const tensor = this.#graph.initializers.get(value);
    if (tensor === undefined || tensor.dataType === 'string') return undefined;
    const values = this.#values.get(value) ?? numbersOf(tensor);
    this.#values.set(value, values);
    return { values, dims: tensor.dims };
  }
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
