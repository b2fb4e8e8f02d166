import { CompressionError, defined } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import { opsetOf } from '../../../onnx/model.ts';
import { upgradeOpset } from '../../../onnx/upgrade/upgrade-opset.ts';
import { producersOf, type Graph } from '../../../onnx/graph.ts';
import type { Node } from '../../../onnx/node.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { quantizerState, type Quantizer } from '../../../training/quantizers/quantizer.ts';
import type { TrainedValues } from '../../../training/trained-values.ts';
import type { ActivationParams } from '../activation-params.ts';
import { roundHalfEven } from '../../../numerics/round-half-even.ts';
import { affineOf, normalizedLayers, scaledFilters, type NormalizedLayer } from '../trained/normalized-layers.ts';
import type { QuantPlan } from '../plan.ts';
import { quantizeBias, type PlannedWeight, type WeightPlan } from '../weight-plan.ts';
import { channelLayout } from '../weights.ts';
import type { ComputeUnit } from '../units.ts';
import { opsetOfLayers, planAware, type AwareLayer, type AwarePlan } from './aware-plan.ts';
import { AwareQdqWriter } from './aware-writer.ts';
import type { AwareOptions } from './options.ts';
import { channelIndex, edgeKey, type StartQuantizers } from './start-quantizers.ts';

/** What a layer's weights are quantized from: before its normalization, or with the normalization in them. */
export interface LayerWeights {
  readonly values: Float32Array;
  /** What the codes' scales are multiplied by afterwards, one a filter; absent: nothing. */
  readonly slope?: Float32Array;
}

/**
 * The weights of each layer as the training graph quantizes them.
 *
 * @param isTrained - whether a normalization works with the statistics of its batch, so that it stays behind the convolution
 */
export function layerWeights(
  graph: Graph,
  layers: readonly AwareLayer[],
  isTrained: (normalization: Node) => boolean,
): ReadonlyMap<string, LayerWeights> {
  const pairs = new Map(normalizedLayers(graph).map((pair) => [pair.normalization.outputs[0] ?? '', pair]));
  const producers = producersOf(graph);
  return new Map(
    layers.map(({ key, unit }): [string, LayerWeights] => {
      const pair: NormalizedLayer | undefined = pairs.get(key);
      const node = pair?.convolution ?? defined(producers.get(key), `the node that makes "${key}"`);
      const name = node.inputs[unit.weight?.index ?? 1] ?? '';
      const tensor = defined(graph.initializers.get(name), `weight "${name}"`);
      const values = tensor.floats();
      if (pair === undefined) return [key, { values }];
      const { slope } = affineOf(graph, pair);
      if (isTrained(pair.normalization)) return [key, { values, slope }];
      return [key, { values: scaledFilters({ dims: tensor.dims, values }, slope) }];
    }),
  );
}

export interface AwareExport {
  readonly model: Model;
  readonly plan: AwarePlan;
  readonly weights: ReadonlyMap<string, PlannedWeight>;
  readonly params: ReadonlyMap<string, ActivationParams>;
}

/**
 * The quantized model of a trained one: integer weights, and quantizers where the training graph had them.
 *
 * @param model - with the trained values, normalizations as they were trained; it is not changed
 * @param values - of the training run: what the quantizers have come to
 */
export function exportAware(
  model: Model,
  options: AwareOptions,
  start: StartQuantizers,
  given: { readonly values: TrainedValues; readonly isTrained: (normalization: Node) => boolean },
): AwareExport {
  const raised = copyModel(model);
  raiseOpset(raised, opsetOfLayers(planAware(model, options).layers));
  const plan = planAware(raised, options);
  const exported = plan.folded;
  const sources = layerWeights(model.graph, plan.layers, given.isTrained);
  const weights = new Map<string, PlannedWeight>();
  for (const { key, unit, storedAs } of plan.layers) {
    const quantizer = defined(start.weights.get(key), `quantizer of "${key}"`);
    const source = defined(sources.get(key), `weights of "${key}"`);
    const codes = codesOf(unit, quantizer, source, given.values);
    weights.set(key, { ...(storedAs === 'int8' ? atHalfSteps(codes) : codes), type: storedAs });
  }
  const params = new Map(
    [...start.roots].map(([root, quantizer]) => [root, activationParams(quantizer, given.values)]),
  );
  const written = withEdges(plan);
  const all = new Map(params);
  for (const name of written.narrower.keys()) {
    all.set(name, activationParams(defined(start.edges.get(name), `quantizer "${name}"`), given.values));
  }
  const keyOf = (unit: ComputeUnit): string => unit.node.outputs[0] ?? '';
  const weightOf = (unit: ComputeUnit): PlannedWeight => defined(weights.get(keyOf(unit)), `codes of "${keyOf(unit)}"`);
  const inputScale = (unit: ComputeUnit): number => {
    const quantizer = written.quantizerOf(unit, unit.activations[0] ?? 0);
    return defined(all.get(quantizer), `scale of "${quantizer}"`).scale;
  };
  const weightPlan: WeightPlan = {
    weightOf,
    biasOf: (unit) =>
      unit.bias === undefined ? undefined : quantizeBias(unit, weightOf(unit).scales, inputScale(unit)),
  };
  const compute = [...plan.plan.units.values()].filter((unit) => unit.kind === 'compute');
  if (compute.length > 0) {
    new AwareQdqWriter({
      model: exported,
      view: plan.view,
      plan: written,
      params: all,
      weights: weightPlan,
      hasIntegerBias: (unit) => weights.get(keyOf(unit))?.type === 'int8',
    }).write();
  }
  return { model: exported, plan, weights, params };
}

/** The placement with its second quantizers in front of layers that read fewer bits than others do. */
function withEdges({ plan, edges }: AwarePlan): QuantPlan {
  const names = new Map(edges.map((edge) => [`${edge.key} ${edge.inputIndex}`, edgeKey(edge)]));
  return {
    ...plan,
    narrower: new Map(
      edges.map((edge) => [edgeKey(edge), { root: plan.roots.get(edge.value) ?? edge.value, type: 'uint8' }]),
    ),
    quantizerOf: (unit, index) => names.get(`${unit.node.outputs[0] ?? ''} ${index}`) ?? plan.quantizerOf(unit, index),
  };
}

/** @throws CompressionError MODEL_UNSUPPORTED where the model has no form in that opset */
function raiseOpset(model: Model, needed: number): void {
  if (opsetOf(model) >= needed) return;
  const { skipped } = upgradeOpset(model, needed);
  if (opsetOf(model) >= needed) return;
  throw new CompressionError(
    'MODEL_UNSUPPORTED',
    `packed weights need opset ${needed}, and ${skipped[0] === undefined ? 'the model' : `${skipped[0].node} (${skipped[0].reason})`} cannot be raised to it; set storage to "int8"`,
  );
}

function activationParams(quantizer: Quantizer, values: TrainedValues): ActivationParams {
  const { scales, zeroPoint } = quantizerState(quantizer, values, undefined);
  const [scale = 1] = scales;
  const [qmin, qmax] = quantizer.range;
  const interval = { min: (qmin - zeroPoint) * scale, max: (qmax - zeroPoint) * scale };
  return { type: 'uint8', scale, zeroPoint, range: quantizer.range, interval };
}

/** The same values with no offset, for kernels that know none: a byte has room for odd codes at half the scale. */
function atHalfSteps({ offset = 0, ...planned }: Omit<PlannedWeight, 'type'>): Omit<PlannedWeight, 'type'> {
  if (offset === 0) return planned;
  return {
    ...planned,
    codes: Int8Array.from(planned.codes, (code) => 2 * code + 2 * offset),
    scales: planned.scales.map((scale) => scale / 2),
  };
}

/** To the bit what the training graph rounds to. O(n). */
function codesOf(
  unit: ComputeUnit,
  quantizer: Quantizer,
  { values, slope }: LayerWeights,
  trained: TrainedValues,
): Omit<PlannedWeight, 'type'> {
  const weight = defined(unit.weight, 'weight of the layer');
  const layout = channelLayout(weight.tensor.dims, weight.axis);
  const channelOf = channelIndex(layout);
  const { scales } = quantizerState(quantizer, trained, { values, channelOf });
  const [low, high] = quantizer.range;
  const offset = quantizer.offset ?? 0;
  const filters = channelLayout(weight.tensor.dims, 0);
  const codes = new Int8Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const scale = scales[channelOf(i)] ?? 1;
    const code = roundHalfEven(Math.fround(Math.fround((values[i] ?? 0) - Math.fround(scale * offset)) / scale));
    // A filter that its normalization turns around: makeSlopesPositive left it because others read it too.
    const isTurned = slope !== undefined && (slope[Math.floor(i / filters.inner)] ?? 1) < 0;
    const bounded = Math.min(Math.max(code, low), high);
    codes[i] = isTurned ? Math.min(Math.max(-bounded - 2 * offset, low), high) : bounded;
  }
  const folded =
    slope === undefined
      ? Float32Array.from(scales)
      : slope.map((factor, filter) => Math.abs(factor) * (scales[scales.length === 1 ? 0 : filter] ?? 1));
  const axis = slope === undefined ? weight.axis : 0;
  return {
    codes,
    scales: folded,
    zeroPoints: new Int32Array(folded.length),
    ...(offset !== 0 && { offset }),
    tensor: weight.tensor,
    axis,
    layout: channelLayout(weight.tensor.dims, axis),
  };
}
