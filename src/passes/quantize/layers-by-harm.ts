import { macsOf } from '../../onnx/cost/macs.ts';
import type { Model } from '../../onnx/model.ts';
import { firstSamples } from '../first-samples.ts';
import type { PassContext } from '../pass.ts';
import { mixedLayers } from './mixed/layers.ts';
import { measuredSensitivities } from './mixed/sensitivities.ts';
import type { StaticOptions } from './static-options.ts';
import { decide } from './static-run.ts';

/** Of the calibration data. */
const SAMPLES = 128;

/**
 * Layers that the options quantize, by the first outputs of their nodes: those first that change the outputs most when they alone
 * are quantized (`kl` of classes, else noise over signal; see `measuredSensitivities`). The model is not changed.
 *
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN; AbortError when canceled
 */
export async function layersByHarm(
  model: Model,
  options: StaticOptions,
  context: PassContext,
): Promise<readonly (readonly string[])[]> {
  const { calibration } = context.data;
  if (calibration === undefined) return [];
  const { weights, activations } = options;
  const layers = mixedLayers(decide(model, { options }, context), [{ weights, activations }], {}, macsOf(model));
  const feeds = firstSamples(calibration, SAMPLES);
  const { table } = await measuredSensitivities({ model, layers, request: { options }, feeds }, context);
  const losses = table.map(([only]) => only?.loss ?? 0);
  return layers
    .map(({ outputs }, at) => ({ outputs, loss: losses[at] ?? 0 }))
    .sort((a, b) => b.loss - a.loss)
    .map(({ outputs }) => outputs);
}
