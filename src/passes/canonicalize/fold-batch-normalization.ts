import { describeNode, type Node } from '../../onnx/node.ts';
import type { Skipped } from '../pass.ts';
import { channelAffine, type ChannelAffine } from './channel-affine.ts';
import { foldIntoConsumer } from './fold-forward.ts';
import { foldIntoProducer } from './fold-backward.ts';
import { foldSite, type FoldSite } from './fold-site.ts';
import type { Scope, Workspace } from './scope.ts';

/**
 * Folds inference-mode BatchNormalization nodes into the Conv, ConvTranspose, Gemm or MatMul before them, or else into
 * the one after them. With a = scale / sqrt(var + epsilon) and b = bias - mean * a the node is y = a * x + b per channel;
 * a goes into the weights, b into the bias. Computed in float64 and rounded once to the weight's type.
 *
 * Left alone, with the reason: a value between the two that somebody else reads, parameters that are not constants,
 * and, in front of a Conv that pads, b != 0 (the border sees zeros, not b).
 */
export function foldBatchNormalizations(scope: Scope, workspace: Workspace, skipped: Skipped[]): number {
  let folded = 0;
  // A fold can make the next possible (Conv, BatchNormalization, BatchNormalization), and each changes who reads what.
  for (let changed = true; changed;) {
    changed = false;
    skipped.length = 0;
    const batchNorms = scope.graph.nodes.filter((node) => node.opType === 'BatchNormalization' && node.domain === '');
    if (batchNorms.length === 0) break;
    const replaced = new Map<Node, readonly Node[]>();
    const touched = new Set<string>();
    const site = foldSite(scope, workspace, (node, by) => {
      replaced.set(node, by);
      for (const made of by) made.outputs.forEach((name) => touched.add(name));
    });
    for (const node of batchNorms) {
      // The index of reads is stale around a node that was folded in this round; its neighbour waits for the next one.
      if ([...node.inputs, ...node.outputs].some((name) => touched.has(name))) {
        changed = true;
        continue;
      }
      const affine = channelAffine(node, site.names);
      const reason = typeof affine === 'string' ? affine : foldOne(node, affine, site);
      if (reason !== undefined) {
        skipped.push({ node: describeNode(node), reason });
        continue;
      }
      for (const name of [node.inputs[0], node.outputs[0]]) if (name !== undefined) touched.add(name);
      folded += 1;
      changed = true;
    }
    if (replaced.size > 0) scope.graph.nodes = scope.graph.nodes.flatMap((node) => replaced.get(node) ?? [node]);
  }
  return folded;
}

function foldOne(node: Node, affine: ChannelAffine, site: FoldSite): string | undefined {
  const before = foldIntoProducer(node, affine, site);
  if (before === undefined) return undefined;
  const after = foldIntoConsumer(node, affine, site);
  return after === undefined ? undefined : `before it: ${before}; after it: ${after}`;
}
