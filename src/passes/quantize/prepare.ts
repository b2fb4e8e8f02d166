import { NameScope } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { PassContext, Skipped } from '../pass.ts';
import { equalize, type EqualizationReport } from './equalize/equalize.ts';
import { channelAxis } from './placement.ts';
import { smooth, type SmoothReport } from './smooth/smooth.ts';
import type { ComputeUnit } from './units.ts';

/** Gives convolutions and Gemms without a bias one of zeros, for a correction to go into. Changes the model. */
export function ensureBiases({ graph }: Model, units: Iterable<ComputeUnit>): void {
  const names = new NameScope(graph);
  for (const { node, weight, bias } of units) {
    if (weight === undefined || bias !== undefined || (node.opType !== 'Conv' && node.opType !== 'Gemm')) continue;
    const axis = channelAxis(node, weight.tensor.dims.length) ?? 0;
    const name = names.fresh(`${weight.tensor.name}_bias`);
    graph.initializers.set(name, Tensor.float(name, new Float32Array(weight.tensor.dims[axis] ?? 0)));
    node.inputs[2] = name;
  }
}

/** Rewrites that make a model easier to quantize. */
export interface PreparationSettings {
  readonly equalize: boolean;
  /** SmoothQuant's alpha; undefined: no smoothing. */
  readonly smooth: number | undefined;
}

export interface Preparation {
  readonly report: { readonly equalize?: EqualizationReport; readonly smooth?: SmoothReport };
  readonly skipped: readonly Skipped[];
  /** What nodes make that were added and are to stay in float. */
  readonly floatValues: ReadonlySet<string>;
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
    floatValues: smoothed?.smoothed ?? new Set(),
  };
}
