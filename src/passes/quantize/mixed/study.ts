import { CompressionError } from '../../../errors.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { firstSamples } from '../../first-samples.ts';
import type { FeedSource, PassContext, Skipped } from '../../pass.ts';
import { TrainingField } from '../../../schemas/training.ts';
import { isNarrower } from '../activation-types.ts';
import { ensureBiases } from '../prepare.ts';
import { QdqWriter } from '../qdq-writer.ts';
import type { ActivationType } from '../quant-type.ts';
import { StaticOptions } from '../static-options.ts';
import type { LayerChoice, StaticRequest } from '../static-request.ts';
import { decide, planStatically, raiseOpset, type Decision, type DecisionContext } from '../static-run.ts';
import type { CostUnit, LayerCost } from './costs.ts';
import { layerCosts } from './costs.ts';
import { choiceLabel, choicesOf, mixedLayers, type MixedLayer } from './layers.ts';
import type { MixedOptions } from './options.ts';
import { hessianSensitivities } from './hawq.ts';
import { measuredSensitivities, type Measure, type SensitivityRun, type SensitivityTable } from './sensitivities.ts';

/** What is known about a model's layers before their types are chosen. */
export interface Study {
  readonly layers: readonly MixedLayer[];
  readonly sensitivities: SensitivityTable;
  /** How they were measured; undefined where nothing was. */
  readonly measuredBy: Measure | 'hawq' | undefined;
  readonly skipped: readonly Skipped[];
  readonly costOf: (unit: CostUnit) => LayerCost;
  /** How layers are quantized, whatever their types. */
  readonly how: StaticOptions;
  /** A copy of the model with a choice written down, its weights rounded to nearest: what it costs does not depend on codes. */
  readonly written: (options: readonly number[]) => Promise<Model>;
}

/**
 * Finds the layers and measures what each candidate of each costs in accuracy. The model is not changed.
 *
 * @throws CompressionError RECIPE_NO_MATCH, RECIPE_INVALID, DATASET_EMPTY, MODEL_RUN, PASS_PRECONDITION; AbortError when canceled
 */
export async function studyLayers(model: Model, options: MixedOptions, context: PassContext): Promise<Study> {
  const { how, request, decision, layers } = layersOf(model, options, context);
  const base = prepared(model, layers, request);
  const plain = { ...how, biasCorrection: 'none' } as const;
  const run = { model: base, layers, request: { options: plain } };
  const measured = isGiven({ layers }) ? undefined : await sensitivitiesOf(run, model, options, context);
  const quiet = { ...context, progress: () => undefined };
  return {
    layers,
    sensitivities: measured?.table ?? layers.map(() => [{ loss: 0 }]),
    measuredBy: measured?.by,
    skipped: decision.skipped,
    how,
    costOf: (unit) => layerCosts(unit, decision.view, context.costTable),
    written: async (chosen) => {
      const candidate = copyModel(base);
      const choices = choicesOf(layers, chosen);
      const planned = await planStatically(candidate, { options: { ...plain, rounding: 'nearest' }, choices }, quiet);
      if (planned.plan.units.size > 0) new QdqWriter(planned).write();
      return candidate;
    },
  };
}

/** Whether the recipe says what every layer is to be. */
export function isGiven({ layers }: Pick<Study, 'layers'>): boolean {
  return layers.every((layer) => layer.isGiven);
}

/** The layers whose types are chosen. */
export function layersOf(
  model: Model,
  options: MixedOptions,
  context: DecisionContext,
): { how: StaticOptions; request: StaticRequest; decision: Decision; layers: readonly MixedLayer[] } {
  const how = staticOptions(options);
  // No layer has a type yet: all have the usual ones.
  const request: StaticRequest = { options: how, choices: new Map() };
  const decision = decide(model, request, context);
  return { how, request, decision, layers: mixedLayers(decision, options.candidates, options.layers, macsOf(model)) };
}

async function sensitivitiesOf(
  run: Pick<SensitivityRun, 'model' | 'layers' | 'request'>,
  model: Model,
  { sensitivity, samples, training = TrainingField.parse({}), batches, probes }: MixedOptions,
  context: PassContext,
): Promise<{ readonly by: Measure | 'hawq'; readonly table: SensitivityTable }> {
  if (sensitivity === 'hawq') {
    return { by: 'hawq', table: await hessianSensitivities(run, model, { training, batches, probes }, context) };
  }
  const feeds = firstSamples(calibrationOf(context), samples);
  return measuredSensitivities({ ...run, feeds, by: sensitivity }, context);
}

/** A copy in which every candidate can be written: of an opset that has all types, with biases where a correction would add them. */
function prepared(model: Model, layers: readonly MixedLayer[], { options }: StaticRequest): Model {
  const base = copyModel(model);
  const candidates = layers.flatMap((layer) =>
    layer.candidates.map((choice) => [choiceLabel(choice), choice] as const),
  );
  raiseOpset(base, { options, choices: new Map(candidates) });
  if (options.biasCorrection === 'none') return base;
  const nodes = new Map(base.graph.nodes.map((node) => [node.outputs[0] ?? '', node]));
  const units = layers.flatMap((layer) => layer.units);
  ensureBiases(
    base,
    units.flatMap((unit) => {
      const node = nodes.get(unit.node.outputs[0] ?? '');
      return node === undefined ? [] : [{ ...unit, node }];
    }),
  );
  return base;
}

export function calibrationOf({ data }: PassContext): FeedSource {
  if (data.calibration === undefined) {
    throw new CompressionError('PASS_PRECONDITION', 'quantize.mixed needs calibration data; give data.calibration');
  }
  return data.calibration;
}

function staticOptions(options: MixedOptions): StaticOptions {
  const { exclude, overrides, perChannel, symmetric, method, percentile, rounding, iterations, biasCorrection } =
    options;
  return StaticOptions.parse({
    activations: usualActivations(options),
    exclude,
    overrides,
    perChannel,
    symmetric,
    method,
    percentile,
    rounding,
    iterations,
    biasCorrection,
  });
}

/** Of what no layer asks for: the narrowest type that one may ask for. */
function usualActivations({ candidates, layers }: MixedOptions): ActivationType {
  const choices: readonly LayerChoice[] = [...candidates, ...Object.values(layers)];
  const types = choices.flatMap((choice) => (choice === 'float' ? [] : [choice.activations]));
  return types.reduce<ActivationType>((a, b) => (isNarrower(b, a) ? b : a), types[0] ?? 'uint8');
}
