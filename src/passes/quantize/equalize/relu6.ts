import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { usesOf } from '../../../onnx/graph.ts';
import type { ObservationPoint, Observations } from '../../observe.ts';
import type { Skipped } from '../../pass.ts';
import { nodeLabel } from '../node-filter.ts';
import { dropUnread } from '../scope.ts';

/** A Clip from 0 to a constant (ReLU6), which scaling would break: its upper end stays where it is. */
export interface UpperClip {
  readonly node: Node;
  readonly bound: number;
  readonly point: ObservationPoint;
}

const LAYERS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm']);

/** Those that a layer feeds and that feed a layer: where a Relu instead would make a link. */
export function upperClips({ graph }: Model): readonly UpperClip[] {
  const uses = usesOf(graph);
  const constant = (name: string | undefined): number | undefined =>
    name === undefined || graph.inputs.some((input) => input.name === name)
      ? undefined
      : graph.initializers.get(name)?.floats()[0];
  const made = new Set(graph.nodes.filter(({ opType }) => LAYERS.has(opType)).map(({ outputs }) => outputs[0] ?? ''));
  const clips: UpperClip[] = [];
  for (const node of graph.nodes) {
    const [input = '', low, high] = node.inputs;
    if (node.opType !== 'Clip' || node.domain !== '' || !made.has(input)) continue;
    const feeds = (uses.get(node.outputs[0] ?? '') ?? []).some((use) => use.inputIndex >= 0);
    const bound = constant(high);
    if (constant(low) !== 0 || bound === undefined || !(bound > 0) || !feeds) continue;
    clips.push({ node, bound, point: { tensor: input, statistic: { kind: 'minmax' } } });
  }
  return clips;
}

/**
 * Replaces the Clips whose upper end no value of the calibration data reaches by Relu. The others cut values off, so the network
 * would be another one without them.
 */
export function replaceIdleClips(
  { graph }: Model,
  clips: readonly UpperClip[],
  observations: Observations,
): { readonly replaced: number; readonly skipped: readonly Skipped[] } {
  const skipped: Skipped[] = [];
  const unread: string[] = [];
  let replaced = 0;
  for (const { node, bound, point } of clips) {
    const observation = observations.get(point);
    if (observation?.kind === 'range' && observation.max <= bound) {
      unread.push(...node.inputs.slice(1));
      node.opType = 'Relu';
      node.inputs = node.inputs.slice(0, 1);
      node.attributes.clear();
      replaced += 1;
    } else {
      const reached = observation?.kind === 'range' ? `reach ${observation.max.toPrecision(4)}` : 'were never made';
      skipped.push({
        node: nodeLabel(node),
        reason: `not equalized: the values before it ${reached}, so its upper end ${bound} does something`,
      });
    }
  }
  dropUnread(graph, unread);
  return { replaced, skipped };
}
