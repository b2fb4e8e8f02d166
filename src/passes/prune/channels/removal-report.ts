import { describeNode } from '../../../onnx/node.ts';
import type { ChannelAnalysis } from '../groups/analyze-channels.ts';
import { groupName, type ChannelGroups } from '../groups/channel-groups.ts';
import { roleOf } from '../groups/weight-role.ts';
import type { Costs } from './channel-costs.ts';
import { labelOf } from './layer-filter.ts';
import type { RemovalPlan } from './plan-removal.ts';

/** Output channels of one layer: `kept` holds indices as they were before the step. */
interface LayerChannels {
  readonly layer: string;
  readonly of: number;
  readonly kept: readonly number[];
}

/** Which channels went, in the numbers of the model before the step. Read before anything is removed. */
export function removalDetails(
  analysis: ChannelAnalysis,
  { frozen }: ChannelGroups,
  plan: RemovalPlan,
): Readonly<Record<string, unknown>> {
  return {
    channels: {
      before: plan.groups.reduce((sum, { group }) => sum + group.roots.length, 0),
      removed: plan.removed.reduce((sum, channels) => sum + channels.length, 0),
    },
    groups: plan.groups.map(({ group, scores }, index) => {
      const of = group.roots.length;
      return {
        name: groupName(group),
        of,
        kept: of - (plan.removed[index]?.length ?? 0),
        ...(scores === undefined ? { unranked: true } : {}),
        members: group.members.map(({ value, axis, node, role }) => ({
          weight: value,
          axis,
          node: labelOf(node),
          role,
        })),
      };
    }),
    layers: layersOf(analysis, plan),
    frozen: frozen.map(({ node, channels, reason }) => ({ layer: describeNode(node), channels, reason })),
  };
}

function layersOf({ model, axes, atoms }: ChannelAnalysis, { removedRoots }: RemovalPlan): LayerChannels[] {
  const layers: LayerChannels[] = [];
  for (const node of model.graph.nodes) {
    for (const [input, name] of node.inputs.entries()) {
      const own = model.graph.initializers.has(name) ? axes.get(name) : undefined;
      const axis = own?.find((_, at) => roleOf(node, input, { at, rank: own.length }) === 'output');
      if (axis?.kind !== 'channels') continue;
      const kept = [...axis.atoms.keys()].filter((at) => removedRoots[atoms.root(axis.atoms[at] ?? 0)] !== 1);
      if (kept.length < axis.atoms.length) layers.push({ layer: labelOf(node), of: axis.atoms.length, kept });
    }
  }
  return layers;
}

const compared = (before: number, after: number) => ({ before, after, share: before === 0 ? 1 : after / before });

/** Before and after, with the share that is left. */
export function costDetails(
  before: Pick<Costs, 'macs' | 'parameters'>,
  after: Pick<Costs, 'macs' | 'parameters'>,
): Readonly<Record<string, unknown>> {
  return { macs: compared(before.macs, after.macs), parameters: compared(before.parameters, after.parameters) };
}

/** Estimated time of one sample, and the groups whose number of channels follows it; nothing without a table. */
export function latencyDetails(plan: RemovalPlan, costTable: string): Readonly<Record<string, unknown>> {
  const { before, expected, groups, speed } = plan;
  if (before.latencyNs === 0) return {};
  const { before: beforeNs, after: afterNs, share } = compared(before.latencyNs, expected.latencyNs);
  return {
    latency: {
      costTable,
      arithmetic: plan.arithmetic,
      beforeNs,
      afterNs,
      share,
      moved: (speed?.moved ?? []).map(({ group: index, from, to }) => {
        const group = groups[index]?.group;
        return { group: group === undefined ? '' : groupName(group), of: group?.roots.length ?? 0, from, to };
      }),
    },
  };
}
