import { defined } from '../../errors.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { ActivationParams } from './activation-params.ts';
import { roundHalfEven } from '../../numerics/round-half-even.ts';
import type { QuantPlan } from './plan.ts';
import type { WeightType } from './quant-type.ts';
import type { ComputeUnit, UnitWeight } from './units.ts';
import {
  channelLayout,
  clippedTo,
  quantizeWeight,
  weightParams,
  type ChannelLayout,
  type QuantizedWeight,
  type WeightScheme,
} from './weights.ts';

/** A weight in codes; nodes that share an initializer (and read it alike) share this. */
export interface PlannedWeight extends QuantizedWeight {
  /** The type that the codes are stored in. */
  readonly type: WeightType;
  /** Part of a step that each value lies beside its code; default 0. Of 2-bit codes alone. */
  readonly offset?: number;
  readonly tensor: Tensor;
  readonly axis: number | undefined;
  readonly layout: ChannelLayout;
}

/** A bias in int32, for one node: its scales are those of that node's input times those of its weight. */
export interface PlannedBias {
  readonly codes: Int32Array;
  readonly scales: Float32Array;
}

export interface WeightPlan {
  weightOf(unit: ComputeUnit): PlannedWeight;
  biasOf(unit: ComputeUnit): PlannedBias | undefined;
}

/** Codes that something better than rounding to nearest has chosen. */
export type LearnedWeight = QuantizedWeight;

const INT32_MAX = 2 ** 31 - 1;

/**
 * Quantizes weights and biases. A bias is stored in int32 with scale s_x * s_w, because it is added to the products as
 * they are; where it would not fit, s_w is widened first and the weight quantized with the widened scale.
 *
 * @param schemeOf - how the weight of a unit is quantized: the same for all that share it
 * @param learned - codes and scales that are taken as they are, by `weightKey`
 */
export function planWeights(
  plan: QuantPlan,
  params: ReadonlyMap<string, ActivationParams>,
  schemeOf: (unit: ComputeUnit) => WeightScheme,
  learned: ReadonlyMap<string, LearnedWeight> = new Map(),
): WeightPlan {
  const units = [...plan.units.values()].filter((unit) => unit.kind === 'compute');
  const scales = new Map<string, ReturnType<typeof weightParams>>();
  const weights = new Map<string, PlannedWeight>();
  for (const unit of units) {
    if (unit.weight === undefined) continue;
    const key = weightKey(unit.weight);
    const layout = channelLayout(unit.weight.tensor.dims, unit.weight.axis);
    const scheme = schemeOf(unit);
    const chosen =
      scales.get(key) ?? learned.get(key) ?? weightParams(clippedTo(valuesOf(unit.weight), scheme), layout, scheme);
    scales.set(key, chosen);
    if (learned.has(key)) continue;
    widenForBias(unit, chosen.scales, inputScale(unit, plan, params), scheme.powerOfTwo);
  }
  for (const unit of units) {
    if (unit.weight === undefined) continue;
    const { tensor, axis } = unit.weight;
    const key = weightKey(unit.weight);
    if (weights.has(key)) continue;
    const layout = channelLayout(tensor.dims, axis);
    const chosen = defined(scales.get(key), `scales of ${tensor.name}`);
    const scheme = schemeOf(unit);
    const { type } = scheme;
    const values = clippedTo(valuesOf(unit.weight), scheme);
    const quantized = learned.get(key) ?? quantizeWeight(values, layout, type, chosen);
    weights.set(key, { ...quantized, type, tensor, axis, layout });
  }
  const weightOf = (unit: ComputeUnit): PlannedWeight => {
    const weight = defined(unit.weight, 'weight of the unit');
    return defined(weights.get(weightKey(weight)), `codes of ${weight.tensor.name}`);
  };
  const biases = new Map<ComputeUnit, PlannedBias>();
  for (const unit of units) {
    if (unit.bias === undefined) continue;
    biases.set(unit, quantizeBias(unit, weightOf(unit).scales, inputScale(unit, plan, params)));
  }
  return { weightOf, biasOf: (unit) => biases.get(unit) };
}

/** Nodes that read a weight alike share its codes. */
export function weightKey({ tensor, axis, factor }: UnitWeight): string {
  return JSON.stringify([tensor.name, axis ?? null, factor]);
}

/** The weight as it is to be quantized: with its factor. */
export function valuesOf({ tensor, factor }: UnitWeight): Float32Array {
  const values = tensor.floats();
  return factor === 1 ? values : values.map((value) => value * factor);
}

function inputScale(unit: ComputeUnit, plan: QuantPlan, params: ReadonlyMap<string, ActivationParams>): number {
  const quantizer = plan.quantizerOf(unit, unit.activations[0] ?? 0);
  return defined(params.get(quantizer), `parameters of "${quantizer}"`).scale;
}

function biasValue({ bias }: ComputeUnit, channel: number): number {
  if (bias === undefined) return 0;
  const values = bias.tensor.floats();
  return (values[values.length === 1 ? 0 : channel] ?? 0) * bias.factor;
}

function widenForBias(unit: ComputeUnit, scales: Float32Array, scaleX: number, powerOfTwo: boolean): void {
  if (unit.bias === undefined) return;
  for (let channel = 0; channel < unit.bias.channels; channel += 1) {
    const at = scales.length === 1 ? 0 : channel;
    const needed = Math.abs(biasValue(unit, channel)) / INT32_MAX / scaleX;
    if ((scales[at] ?? 1) >= needed) continue;
    // One part in 2^20 more, so that rounding to float32 does not undo it.
    scales[at] = powerOfTwo ? 2 ** Math.ceil(Math.log2(needed)) : needed * (1 + 2 ** -20);
  }
}

/** The unit's bias in steps of the products, s_x * s_w; beyond int32 it saturates. */
export function quantizeBias(unit: ComputeUnit, weightScales: Float32Array, scaleX: number): PlannedBias {
  const channels = unit.bias?.channels ?? 0;
  const codes = new Int32Array(channels);
  const scales = weightScales.map((scale) => scale * scaleX);
  for (let channel = 0; channel < channels; channel += 1) {
    const scale = scales[scales.length === 1 ? 0 : channel] ?? 1;
    const code = scale === 0 ? 0 : roundHalfEven(biasValue(unit, channel) / scale);
    codes[channel] = Math.min(Math.max(code, -INT32_MAX), INT32_MAX);
  }
  return { codes, scales };
}
