import type { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import type { PassContext, Skipped } from '../pass.ts';
import { equalize, type EqualizationReport } from './equalize/equalize.ts';
import { smooth, type SmoothReport } from './smooth/smooth.ts';

/** Rewrites that make a model easier to quantize. */
export interface PreparationSettings {
  readonly equalize: boolean;
  /** SmoothQuant's alpha; undefined: no smoothing. */
  readonly smooth: number | undefined;
}

export interface Preparation {
  readonly report: { readonly equalize?: EqualizationReport; readonly smooth?: SmoothReport };
  readonly skipped: readonly Skipped[];
  /** Nodes that were added and are to stay in float. */
  readonly floatNodes: ReadonlySet<Node>;
}

/**
 * Rewrites a model in float so that it loses less when it is quantized, before its activations are observed. What it computes on the
 * calibration data stays, to rounding. Changes the model where a setting asks for it.
 *
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN
 */
export async function prepare(model: Model, settings: PreparationSettings, context: PassContext): Promise<Preparation> {
  const equalized = settings.equalize ? await equalize(model, context) : undefined;
  const smoothed = settings.smooth === undefined ? undefined : await smooth(model, settings.smooth, context);
  return {
    report: {
      ...(equalized === undefined ? {} : { equalize: equalized.report }),
      ...(smoothed === undefined ? {} : { smooth: smoothed.report }),
    },
    skipped: [...(equalized?.skipped ?? []), ...(smoothed?.skipped ?? [])],
    floatNodes: smoothed?.multipliers ?? new Set(),
  };
}
