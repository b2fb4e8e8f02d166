import { CompressionError, defined } from '../../../errors.ts';
import { NameScope, usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { FeedSource, Skipped } from '../../pass.ts';
import { nodeLabel } from '../../quantize/node-filter.ts';
import { targetLabel, weightTargets, type WeightTarget } from '../../layer-inputs/weight-targets.ts';
import { ChannelStatistics } from './channel-statistics.ts';
import { affectedValues } from './kept-positions.ts';
import { layerBias } from '../../layer-bias.ts';
import type { PrunedFrom, RecoveryContext } from './reconstruct-layers.ts';
import { SteppedRun } from '../../stepped-run.ts';

export interface Reestimation {
  /** BatchNormalizations with new statistics, and layers whose outputs were matched to the original's, in graph order. */
  readonly layers: readonly string[];
  readonly skipped: readonly Skipped[];
}

/** Outputs are stretched by no more than this, and shrunk by no more than its inverse: a channel that hardly varies tells no scale. */
const MAX_STRETCH = 10;

/**
 * Measures the statistics of the BatchNormalizations behind a cut anew on the calibration data. Where a layer has none behind it
 * (a folded model), its output is matched instead: scaled and shifted by channel to the mean and standard deviation that the
 * original has there, which goes into its weights and bias.
 *
 * Node after node in graph order, each on the outputs of those corrected before it, over all samples at once; so small batches do
 * no harm, unlike with the averages of a forward pass in training mode. About one run of either model over the data. Changes `pruned`.
 *
 * @param pruned - `from.original` without the channels that went
 * @throws CompressionError MODEL_RUN; DATASET_EMPTY; AbortError when canceled
 */
export async function reestimateStatistics(
  pruned: Model,
  { original, kept }: PrunedFrom,
  feeds: FeedSource,
  context: RecoveryContext,
): Promise<Reestimation> {
  const { sites, skipped } = sitesOf(pruned, { original, kept });
  const done: string[] = [];
  const last = Math.max(0, ...sites.map((site) => Math.max(site.index, site.originalIndex))) + 1;
  const run = new SteppedRun(pruned, feeds, context, { until: last });
  const reference = new SteppedRun(original, feeds, context, { until: last });
  for (const [number, site] of sites.entries()) {
    context.progress(number / sites.length, `measuring ${site.label}`);
    const reason =
      site.kind === 'normalization' ? await renew(pruned, site, run) : await match(pruned, site, { run, reference });
    if (reason === undefined) done.push(site.label);
    else skipped.push({ node: site.label, reason });
  }
  context.progress(1, 'statistics measured');
  return { layers: done, skipped };
}

interface Site {
  readonly node: Node;
  readonly index: number;
  readonly originalIndex: number;
  readonly label: string;
}
interface NormalizationSite extends Site {
  readonly kind: 'normalization';
}
interface LayerSite extends Site {
  readonly kind: 'layer';
  readonly target: WeightTarget;
  readonly outputs: readonly number[] | undefined;
}

function sitesOf(
  pruned: Model,
  { original, kept }: PrunedFrom,
): { sites: (NormalizationSite | LayerSite)[]; skipped: Skipped[] } {
  const affected = affectedValues(original, kept);
  const uses = usesOf(pruned.graph);
  const originals = new Map(original.graph.nodes.map((node, index) => [node.outputs[0] ?? '', index]));
  const { targets, skipped } = weightTargets(pruned, { exclude: [] });
  const targetOf = new Map(targets.flatMap((target) => target.nodes.map((node) => [node, target] as const)));
  const sites: (NormalizationSite | LayerSite)[] = [];
  const behind = new Set(
    pruned.graph.nodes.filter(({ outputs }) => affected.has(outputs[0] ?? '')).map((node) => nodeLabel(node)),
  );
  const left = skipped.filter(({ node }) => behind.has(node));
  for (const [index, node] of pruned.graph.nodes.entries()) {
    const [output = ''] = node.outputs;
    if (!affected.has(output)) continue;
    const label = nodeLabel(node);
    const originalIndex = originals.get(output) ?? -1;
    if (node.opType === 'BatchNormalization' && node.domain === '') {
      const constant = node.inputs
        .slice(3, 5)
        .every((name) => pruned.graph.initializers.get(name)?.dataType === 'float');
      if (!affected.has(node.inputs[0] ?? '')) continue;
      if (constant) sites.push({ kind: 'normalization', node, index, originalIndex, label });
      else left.push({ node: label, reason: 'its statistics are no float constants' });
      continue;
    }
    const target = targetOf.get(node);
    if (target === undefined) continue;
    const readers = uses.get(output) ?? [];
    if (readers.length > 0 && readers.every((use) => use.node.opType === 'BatchNormalization')) continue;
    const reason =
      target.nodes.length > 1
        ? 'several layers share its weight'
        : originalIndex < 0
          ? 'the original has no such layer'
          : layerBias(pruned, node, target.layout.outputs)?.add === undefined
            ? 'it has no bias, and no place for one'
            : undefined;
    if (reason !== undefined) {
      left.push({ node: targetLabel(target), reason });
      continue;
    }
    const axes = kept(output);
    const outputs = isConvolution(node) ? axes[1] : axes.at(-1);
    sites.push({ kind: 'layer', node, index, originalIndex, label, target, outputs });
  }
  return { sites, skipped: left };
}

function isConvolution({ opType }: Node): boolean {
  return opType === 'Conv' || opType === 'ConvTranspose';
}

/** @returns why nothing was changed */
async function renew(model: Model, { node, index }: Site, run: SteppedRun): Promise<string | undefined> {
  const [input = ''] = node.inputs;
  const statistics = new ChannelStatistics(1);
  for await (const { values, count } of run.advance(index, [input])) {
    statistics.add(defined(values.get(input), input), count);
  }
  if (statistics.count < 2) return 'the calibration data gives one value a channel, which has no variance';
  const { mean, variance } = statistics;
  checkFinite(node, [mean, variance]);
  for (const [at, values] of [
    [3, mean],
    [4, variance],
  ] as const) {
    const name = node.inputs[at] ?? '';
    const isShared = (usesOf(model.graph).get(name)?.length ?? 0) > 1;
    const target = isShared ? new NameScope(model.graph).fresh(name) : name;
    model.graph.initializers.set(target, Tensor.float(target, values));
    node.inputs[at] = target;
  }
  return undefined;
}

/** @returns why nothing was changed */
async function match(
  model: Model,
  { node, index, originalIndex, target, outputs }: LayerSite,
  { run, reference }: { readonly run: SteppedRun; readonly reference: SteppedRun },
): Promise<string | undefined> {
  const [output = ''] = node.outputs;
  const axis = isConvolution(node) ? 1 : -1;
  const [own, wanted] = [new ChannelStatistics(axis), new ChannelStatistics(axis)];
  for await (const { values, count } of run.advance(index, [output]))
    own.add(defined(values.get(output), output), count);
  for await (const { values, count } of reference.advance(originalIndex, [output])) {
    wanted.add(defined(values.get(output), output), count);
  }
  if (own.count < 2) return 'the calibration data gives one value a channel, which has no variance';
  const [from, to] = [
    { mean: own.mean, variance: own.variance },
    { mean: wanted.mean, variance: wanted.variance },
  ];
  checkFinite(node, [from.mean, from.variance, to.mean, to.variance]);
  const { layout } = target;
  const bias = defined(layerBias(model, node, layout.outputs), `bias of ${nodeLabel(node)}`);
  const scale = new Float64Array(layout.outputs);
  const shift = new Float64Array(layout.outputs);
  for (let o = 0; o < layout.outputs; o += 1) {
    const source = outputs?.[o] ?? o;
    const ratio = Math.sqrt((to.variance[source] ?? 0) / (from.variance[o] ?? 0));
    scale[o] = ratio > 0 && Number.isFinite(ratio) ? Math.min(MAX_STRETCH, Math.max(1 / MAX_STRETCH, ratio)) : 1;
    const ownBias = bias.current[o] ?? 0;
    // y' = s (y - mean) + mean of the original; of that, s times the weights makes s (y - bias).
    shift[o] = (to.mean[source] ?? 0) - (scale[o] ?? 1) * ((from.mean[o] ?? 0) - ownBias) - ownBias;
  }
  scaleOutputs(model, target, scale);
  bias.add?.(shift);
  return undefined;
}

function scaleOutputs(model: Model, { name, layout }: WeightTarget, scale: Float64Array): void {
  const tensor = defined(model.graph.initializers.get(name), name);
  const values = Float32Array.from(tensor.floats());
  const { outputs, inputs, kernel, outputStride, inputStride } = layout;
  for (let o = 0; o < outputs; o += 1) {
    for (let i = 0; i < inputs; i += 1) {
      const from = o * outputStride + i * inputStride;
      for (let at = from; at < from + kernel; at += 1) values[at] = (values[at] ?? 0) * (scale[o] ?? 1);
    }
  }
  model.graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
}

function checkFinite(node: Node, lists: readonly Float64Array[]): void {
  if (lists.every((values) => values.every(Number.isFinite))) return;
  throw new CompressionError(
    'MODEL_RUN',
    `prune.channels: what goes through "${nodeLabel(node)}" is not finite on the calibration data; check the model and the preprocessing`,
  );
}
