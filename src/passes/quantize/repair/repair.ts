import { defined } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { layerBias } from '../../layer-bias.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import type { ActivationParams } from '../activation-params.ts';
import type { GraphView } from '../graph-view.ts';
import type { QuantPlan } from '../plan.ts';
import { planWeights, type LearnedWeight } from '../weight-plan.ts';
import type { ComputeUnit } from '../units.ts';
import type { WeightScheme } from '../weights.ts';
import { fastBiasCorrection } from './fast-bias.ts';
import { repairLayers, type RepairedLayer } from './repair-layers.ts';
import { simulate } from './simulation.ts';

export interface RepairOptions {
  /** See `RepairSettings`. */
  readonly isAlone: boolean;
  readonly rounding: 'nearest' | 'gptq' | 'adaround';
  readonly iterations: number;
  readonly biasCorrection: 'none' | 'fast' | 'full';
}

/** How the model is going to be quantized. */
export interface Quantization {
  /** The same decision for a copy of the model. */
  readonly decide: (model: Model) => { readonly plan: QuantPlan; readonly view: GraphView };
  readonly params: ReadonlyMap<string, ActivationParams>;
  readonly schemeOf: (unit: ComputeUnit) => WeightScheme;
}

export interface RepairOutcome {
  /** Codes by `weightKey`. */
  readonly learned: ReadonlyMap<string, LearnedWeight>;
  readonly layers: readonly RepairedLayer[];
  readonly skipped: readonly Skipped[];
}

export function isRepairing({ rounding, biasCorrection }: Pick<RepairOptions, 'rounding' | 'biasCorrection'>): boolean {
  return rounding !== 'nearest' || biasCorrection !== 'none';
}

/**
 * Learns codes and corrects biases before the model is rewritten. Biases of the model change, its weights do not: their codes are
 * handed back.
 *
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN; AbortError when canceled
 */
export async function repair(
  model: Model,
  quantization: Quantization,
  options: RepairOptions,
  context: PassContext,
): Promise<RepairOutcome> {
  const { params, schemeOf } = quantization;
  const copy = copyModel(model);
  const { plan, view } = quantization.decide(copy);
  const weights = planWeights(plan, params, schemeOf);
  const job = { model: copy, view, plan, params, weights };
  const simulation = simulate(job);
  const correctsBias = options.biasCorrection === 'full';
  const stepped =
    options.rounding !== 'nearest' || correctsBias
      ? await repairLayers(
          model,
          { simulation, weights },
          { ...options, correctsBias, rangeOf: (unit) => schemeOf(unit).range },
          context,
        )
      : {
          learned: new Map<string, LearnedWeight>(),
          biasShifts: new Map<string, Float64Array>(),
          layers: [],
          skipped: [],
        };
  const fast =
    options.biasCorrection === 'fast'
      ? await fastBiasCorrection(model, simulation, { plan, params }, context)
      : { biasShifts: new Map<string, Float64Array>(), layers: [], skipped: [] };
  const makers = new Map(model.graph.nodes.map((node) => [node.outputs[0] ?? '', node]));
  for (const [output, shift] of [...stepped.biasShifts, ...fast.biasShifts]) {
    const node = defined(makers.get(output), `node that makes "${output}"`);
    layerBias(model, node, shift.length)?.add?.(shift);
  }
  return {
    learned: stepped.learned,
    layers: merged(stepped.layers, fast.layers),
    skipped: [...stepped.skipped, ...fast.skipped],
  };
}

function merged(first: readonly RepairedLayer[], second: readonly RepairedLayer[]): readonly RepairedLayer[] {
  const byNode = new Map(first.map((layer) => [layer.node, layer]));
  for (const layer of second) byNode.set(layer.node, { ...byNode.get(layer.node), ...layer });
  return [...byNode.values()];
}
