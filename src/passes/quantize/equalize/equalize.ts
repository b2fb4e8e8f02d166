import { CompressionError } from '../../../errors.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Model } from '../../../onnx/model.ts';
import { calibrate } from '../../calibrate.ts';
import { replaceConstant } from '../../replace-constant.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import { absorbableLinks, absorbBias } from './absorb-bias.ts';
import { crossLayerScales, scaledWeight } from './cross-layer.ts';
import { findLinks } from './homogeneous-links.ts';
import { replaceIdleClips, upperClips } from './relu6.ts';

/** What equalization did, for the step report. */
export interface EqualizationReport {
  readonly links: number;
  readonly passes: number;
  /** Largest and smallest factor on a channel's values. */
  readonly largestScale: number;
  readonly smallestScale: number;
  readonly clipsReplaced: number;
  /** Channels whose constant part moved into the next bias. */
  readonly channelsAbsorbed: number;
}

/**
 * Makes the ranges of channels alike without changing what the network computes: scales between neighbouring layers, then high
 * biases moved on. Changes the model.
 *
 * @returns the report, and what was left as it was with the reason
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN
 * @see Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
 */
export async function equalize(
  model: Model,
  context: PassContext,
): Promise<{ readonly report: EqualizationReport; readonly skipped: readonly Skipped[] }> {
  const feeds = context.data.calibration;
  if (feeds === undefined) throw new CompressionError('PASS_PRECONDITION', 'equalize needs calibration data');
  const clips = upperClips(model);
  const replacement =
    clips.length === 0
      ? { replaced: 0, skipped: [] }
      : replaceIdleClips(
          model,
          clips,
          await calibrate(
            model,
            clips.map(({ point }) => point),
            feeds,
            context,
          ),
        );
  const { links, skipped } = findLinks(model);
  const { scales, passes } = crossLayerScales(links);
  let [largestScale, smallestScale] = [1, 1];
  for (const [layer, layerScales] of scales) {
    const { name, dims } = layer.weight;
    model.graph.initializers.set(name, Tensor.float(name, scaledWeight(layer, layerScales), dims));
    const bias = model.graph.initializers.get(layer.node.inputs[2] ?? '');
    for (const scale of layerScales.outputs) {
      largestScale = Math.max(largestScale, scale);
      smallestScale = Math.min(smallestScale, scale);
    }
    if (bias === undefined || layerScales.outputs.every((scale) => scale === 1)) continue;
    replaceConstant(
      model,
      layer.node,
      2,
      bias.floats().map((value, c) => value / (layerScales.outputs[c] ?? 1)),
    );
  }
  const absorbable = absorbableLinks(links);
  let channelsAbsorbed = 0;
  // Observed together: each absorption leaves what its second layer makes as it was, so none changes what another saw.
  if (absorbable.absorptions.length > 0) {
    const points = absorbable.absorptions.map(({ point }) => point);
    const observations = await calibrate(model, points, feeds, context);
    for (const absorption of absorbable.absorptions) channelsAbsorbed += absorbBias(model, absorption, observations);
  }
  return {
    report: {
      links: links.length,
      passes,
      largestScale,
      smallestScale,
      clipsReplaced: replacement.replaced,
      channelsAbsorbed,
    },
    skipped: [...replacement.skipped, ...skipped, ...absorbable.skipped],
  };
}
