import { defined } from '../../../errors.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import type { Model } from '../../../onnx/model.ts';
import type { JsonValue } from '../../../search/space.ts';
import type { CountedFigures, LayerCost, LayerCosts, PassContext } from '../../pass.ts';
import type { LayerChoice } from '../static-request.ts';
import { modelCost } from './costs.ts';
import type { MixedLayer } from './layers.ts';
import { MixedOptions } from './options.ts';
import { layersOf, studyLayers, type Study } from './study.ts';

const UNITS = ['bytes', 'bops'] as const;

/**
 * Bytes and bit operations of each layer in each type. The rest of the model is what remains of files that are written with the cheapest
 * types and with the most expensive ones, of both the larger: names and structure depend on the choice by a few bytes.
 */
export async function countedCosts(
  model: Model,
  options: MixedOptions,
  values: readonly JsonValue[],
  context: PassContext,
): Promise<LayerCosts> {
  const choices = MixedOptions.shape.candidates.unwrap().parse(values);
  const { layers } = layersOf(model, { ...options, candidates: choices, layers: {} }, context);
  const given = { ...options, layers: { '*': defined(choices[0], 'first choice') } };
  const { costOf } = await studyLayers(model, given, context);
  const counted = layers.map((layer) => choices.map((choice) => costsOf(layer, choice, costOf)));
  const rests: CountedFigures[] = [];
  for (const choice of [least(counted, choices), least(counted, choices, -1)]) {
    const study = await studyLayers(model, { ...options, layers: { '*': choice } }, context);
    const written = await study.written(study.layers.map(() => 0));
    const own = study.layers.map((layer) => costsOf(layer, choice, study.costOf));
    rests.push(
      figures((unit) => (modelCost(unit, written) ?? 0) - own.reduce((sum, cost) => sum + (cost[unit] ?? 0), 0)),
    );
  }
  const macs = macsOf(model).total;
  const elements = layers.reduce((sum, layer) => sum + layer.elements, 0);
  return {
    rest: figures((unit) => Math.max(...rests.map((rest) => rest[unit] ?? 0))),
    layers: Object.fromEntries(
      layers.map((layer, at): [string, LayerCost] => [
        layer.label,
        { features: featuresOf(layer, { macs, elements }), costs: counted[at] ?? [] },
      ]),
    ),
  };
}

function figures(valueOf: (unit: (typeof UNITS)[number]) => number): CountedFigures {
  return Object.fromEntries(UNITS.map((unit) => [unit, valueOf(unit)]));
}

function costsOf(layer: MixedLayer, choice: LayerChoice, costOf: Study['costOf']): CountedFigures {
  return figures((unit) => costOf(unit)(layer, choice));
}

/** The choice with the fewest bytes over all layers; with `sign` -1 the most. */
function least(
  counted: readonly (readonly CountedFigures[])[],
  choices: readonly LayerChoice[],
  sign = 1,
): LayerChoice {
  const bytes = choices.map((_, at) => sign * counted.reduce((sum, own) => sum + (own[at]?.bytes ?? 0), 0));
  return defined(choices[bytes.indexOf(Math.min(...bytes))], 'choice');
}

/** Kind, channels, window and stride; shares of the weights and of the multiply-accumulates. As HAQ's agent sees a layer. */
function featuresOf(
  { units, operator, elements, macs }: MixedLayer,
  total: { readonly macs: number; readonly elements: number },
): readonly number[] {
  const dims = units[0]?.weight?.tensor.dims ?? [];
  const node = units[0]?.node;
  const groups = node?.int('group', 1) ?? 1;
  const logarithm = (count: number): number => Math.log2(Math.max(1, count)) / 10;
  return [
    operator === 'Conv' ? 1 : 0,
    groups > 1 ? 1 : 0,
    logarithm((dims[1] ?? 1) * groups),
    logarithm(dims[0] ?? 1),
    (dims[2] ?? 1) / 10,
    (node?.ints('strides')?.[0] ?? 1) / 4,
    elements / Math.max(1, total.elements),
    macs / Math.max(1, total.macs),
  ];
}
