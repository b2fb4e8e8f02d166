import type { Node } from '../../../onnx/node.ts';
import type { ObservationPoint, Observations } from '../../observe.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import type { ChannelGroup } from '../groups/channel-groups.ts';

/** A value with channels of a group, as a layer reads it. */
interface ReadValue {
  readonly tensor: string;
  readonly axis: number;
}

/** What has to be observed for the mean activations of all groups. */
export function activationPoints(analysis: ChannelAnalysis, groups: readonly ChannelGroup[]): ObservationPoint[] {
  const points = groups.flatMap((group) => readValues(analysis, group).map(pointOf));
  return [...new Map(points.map((point) => [JSON.stringify(point), point])).values()];
}

/**
 * Mean activation of every channel where layers read it, in absolute value: behind a ReLU the share of the signal that the
 * channel carries. Over the mean of the group for each reader, then summed.
 *
 * @returns by group; undefined where no layer with a weight reads the channels, or nothing was observed
 * @see Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017, section 2.2
 */
export function activationScores(
  analysis: ChannelAnalysis,
  groups: readonly ChannelGroup[],
  observations: Observations,
): (Float64Array | undefined)[] {
  const { axes, atoms } = analysis;
  return groups.map((group) => {
    const channelOf = new Map(Array.from(group.roots, (root, channel) => [root, channel]));
    let scores: Float64Array | undefined;
    for (const read of readValues(analysis, group)) {
      const observed = observations.get(pointOf(read));
      const axis = axes.get(read.tensor)?.[read.axis];
      if (observed?.kind !== 'channel-mean' || axis?.kind !== 'channels') continue;
      const own = new Float64Array(group.roots.length);
      for (let i = 0; i < axis.atoms.length; i += 1) {
        const channel = channelOf.get(atoms.root(axis.atoms[i] ?? 0));
        if (channel !== undefined) own[channel] = (own[channel] ?? 0) + Math.abs(observed.mean[i] ?? 0);
      }
      const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
      if (mean === 0) continue;
      scores ??= new Float64Array(group.roots.length);
      for (let channel = 0; channel < own.length; channel += 1) {
        scores[channel] = (scores[channel] ?? 0) + (own[channel] ?? 0) / mean;
      }
    }
    return scores;
  });
}

function pointOf({ tensor, axis }: ReadValue): ObservationPoint {
  return { tensor, statistic: { kind: 'channel-mean', axis } };
}

/** Each value that layers of the group read its channels from, once. */
function readValues({ axes }: ChannelAnalysis, { members }: ChannelGroup): ReadValue[] {
  const values = new Map<string, ReadValue>();
  for (const { node, value, role } of members) {
    if (role !== 'input') continue;
    const tensor = node.inputs[node.inputs[0] === value ? 1 : 0] ?? '';
    const rank = axes.get(tensor)?.length;
    if (rank === undefined) continue;
    const axis = channelAxis(node, { rank, isSecond: node.inputs[1] === tensor });
    values.set(`${axis} ${tensor}`, { tensor, axis });
  }
  return [...values.values()];
}

function channelAxis(node: Node, { rank, isSecond }: { readonly rank: number; readonly isSecond: boolean }): number {
  if (node.opType === 'MatMul') return isSecond ? rank - 2 : rank - 1;
  if (node.opType === 'Gemm') return node.int('transA', 0) === 0 ? 1 : 0;
  return 1;
}
