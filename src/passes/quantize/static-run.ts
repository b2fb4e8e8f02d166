import { CompressionError } from '../../errors.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import { isPackedType } from '../../onnx/packed-integers.ts';
import { upgradeOpset } from '../../onnx/upgrade/upgrade-opset.ts';
import { copyModel } from '../../training/copy-model.ts';
import { calibrate } from '../calibrate.ts';
import { emptyCostTable } from '../cost/kernel-cost-table.ts';
import type { ObservationPoint, Observations } from '../observe.ts';
import type { PassContext, PassResult, Skipped } from '../pass.ts';
import { activationParams, hasObservedRange, pointsOf, type ActivationSettings } from './activation-params.ts';
import { chooseUnits, regionsOf, type Choice } from './choose-units.ts';
import type { WriteJob } from './code-writer.ts';
import { viewOf, type GraphView } from './graph-view.ts';
import { filterNodes, nodeLabel } from './node-filter.ts';
import { findCandidates, makePlan, type QuantPlan } from './plan.ts';
import { ensureBiases, prepare, type Preparation } from './prepare.ts';
import { QdqWriter } from './qdq-writer.ts';
import { QOperatorWriter, importMicrosoft } from './qoperator-writer.ts';
import type { LearnedRangesReport } from './repair/learn-ranges.ts';
import { isRepairing, repair, type RepairOutcome } from './repair/repair.ts';
import { describeFloatNodes, describeLayers, describeValues, type FloatNode } from './static-details.ts';
import type { StaticOptions } from './static-options.ts';
import {
  choiceOf,
  neededOpset,
  schemesOf,
  typesOf,
  warningsOf,
  wishesOf,
  type StaticRequest,
} from './static-request.ts';
import { saturationRisk, targetRules } from './target.ts';
import type { ComputeUnit } from './units.ts';
import { checkWeightOverrides, isPerChannel, weightOverrideOf } from './weight-overrides.ts';
import { planWeights, type WeightPlan } from './weight-plan.ts';

/** Quantizes weights and activations by calibration data. Changes the model. */
export async function quantizeStatically(
  model: Model,
  request: StaticRequest,
  context: PassContext,
): Promise<PassResult> {
  const planned = await planStatically(model, request, context);
  const { plan, view, params, weights, repaired } = planned;
  const compute = computeUnits(plan);
  const layers = describeLayers(compute, weights);
  const floatNodes = context.targetCpu === 'int8-only' ? describeFloatNodes(view, plan) : [];
  const details = {
    target: context.targetCpu,
    targetExplanation: targetRules(context).explanation,
    costTable: context.costTable.hash,
    ...(planned.estimate === undefined
      ? {}
      : { estimatedNs: { before: planned.estimate.floatNs, after: planned.estimate.int8Ns } }),
    calibrationSamples: planned.samples,
    saturationRisk: saturationRisk(
      layers.filter((layer) => layer.weight?.canSaturate === true).map(({ node }) => node),
    ),
    ...(floatNodes.length === 0 ? {} : { floatNodes }),
    ...planned.preparation.report,
    ...(planned.learnedRanges === undefined ? {} : { learnedRanges: planned.learnedRanges }),
    ...(repaired === undefined ? {} : { repaired: repaired.layers }),
    layers,
    activations: describeValues(plan, params),
  };
  if (compute.length > 0) {
    (request.options.format === 'qdq' ? new QdqWriter(planned) : new QOperatorWriter(planned)).write();
    importMicrosoft(model);
  }
  context.progress(1);
  return {
    changes: compute.length,
    skipped: planned.skipped,
    warnings: [...warningsOf(request, context), ...floatWarning(floatNodes)],
    ...(planned.reference === undefined ? {} : { reference: planned.reference }),
    details,
  };
}

/** Everything about a quantized model before it is written. */
export interface StaticPlan extends WriteJob {
  readonly estimate: Choice['estimate'];
  readonly preparation: Preparation;
  /** The model in float that is quantized, where the options had it rewritten. */
  readonly reference: Model | undefined;
  readonly repaired: RepairOutcome | undefined;
  readonly learnedRanges: LearnedRangesReport | undefined;
  /** Of calibration data that ran through the model. */
  readonly samples: number;
  readonly skipped: readonly Skipped[];
}

/** Chooses units, parameters and codes. Changes the model in float where the options ask for it: equalized, with other biases. */
export async function planStatically(model: Model, request: StaticRequest, context: PassContext): Promise<StaticPlan> {
  const { options } = request;
  const preparation = await prepareIfUseful(model, request, context);
  const reference = isPrepared(model, request) ? copyModel(model) : undefined;
  const decideOn = (candidate: Model): Decision => decide(candidate, request, context, preparation.floatValues);
  const first = decideOn(model);
  const observations = await observe(model, pointsOf(first.plan, first.view, activationSettings(options)), context);
  const settings = activationSettings(options);
  const observed = activationParams(first.plan, first.view, settings, observations);
  const schemeOf = schemesOf(request, context);
  const learned =
    options.method === 'learned' && first.plan.units.size > 0
      ? // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
        await (
          await import('./repair/learn-ranges.ts')
        ).learnRanges(
          model,
          { decide: decideOn, params: observed, schemeOf },
          {
            iterations: options.rangeIterations,
            isLearned: (quantizer) => hasObservedRange(quantizer, first.plan, first.view, settings),
          },
          context,
        )
      : undefined;
  const params = learned?.params ?? observed;
  const isRepaired = isRepairing(options) && first.plan.units.size > 0;
  const repaired = isRepaired
    ? await repair(
        model,
        { decide: decideOn, params, schemeOf },
        { ...options, isAlone: request.layersAlone === true },
        context,
      )
    : undefined;
  // Corrected biases are other constants: the same decision, with them.
  const { plan, view, skipped, estimate } = repaired === undefined ? first : decideOn(model);
  const weights: WeightPlan = planWeights(plan, params, schemeOf, repaired?.learned);
  return {
    model,
    view,
    plan,
    params,
    weights,
    estimate,
    preparation,
    reference,
    repaired,
    learnedRanges: learned?.report,
    samples: observations?.samples ?? 0,
    skipped: [...preparation.skipped, ...(repaired?.skipped ?? []), ...skipped],
  };
}

export function computeUnits(plan: QuantPlan): ComputeUnit[] {
  return [...plan.units.values()].filter((unit) => unit.kind === 'compute');
}

const NO_PREPARATION: Preparation = { report: {}, skipped: [], floatValues: new Set() };

/** Rewrites the model where the options ask for it and something of it is going to be quantized. */
async function prepareIfUseful(model: Model, request: StaticRequest, context: PassContext): Promise<Preparation> {
  if (!isPrepared(model, request)) return NO_PREPARATION;
  const { options } = request;
  const { plan } = decide(model, request, context);
  if (plan.units.size === 0) return NO_PREPARATION;
  if (options.biasCorrection !== 'none') ensureBiases(model, computeUnits(plan));
  raiseOpset(model, request);
  return prepare(model, { equalize: options.equalize, smooth: options.smooth }, context);
}

/** Whether the model is rewritten in float before its activations are observed. */
export function isPrepared(model: Model, request: StaticRequest): boolean {
  const { equalize, smooth, biasCorrection } = request.options;
  const rewrites = equalize || smooth !== undefined || biasCorrection !== 'none';
  return rewrites || opsetOf(model) < neededOpset(request);
}

/**
 * @throws CompressionError PASS_PRECONDITION where an operator of the model has no form in the opset that the types need
 */
export function raiseOpset(model: Model, request: StaticRequest): void {
  const opset = neededOpset(request);
  const { to, skipped } = upgradeOpset(model, Math.max(opset, opsetOf(model)));
  if (to >= opset) return;
  const held = skipped.slice(0, 5).map(({ node, reason }) => `${node}: ${reason}`);
  const { weights, activations } = typesOf(request);
  throw new CompressionError(
    'PASS_PRECONDITION',
    `${[...weights].join(', ')} weights and ${[...activations].join(', ')} activations need opset ${opset}, the model stays at ${to} ` +
      `(${held.join('; ')}); use 8-bit types`,
  );
}

/** The answers that are there already, and for other points those of the model as it now is. */
async function observe(
  model: Model,
  points: readonly ObservationPoint[],
  context: PassContext,
): Promise<Observations | undefined> {
  const feeds = context.data.calibration;
  const known = context.observations;
  const missing = points.filter((point) => known?.get(point) === undefined);
  if (missing.length === 0 || feeds === undefined) return known;
  const found = await calibrate(model, missing, feeds, context);
  return known === undefined ? found : { samples: found.samples, get: (point) => known.get(point) ?? found.get(point) };
}

export interface Decision extends Choice {
  readonly view: GraphView;
}

export type DecisionContext = Pick<PassContext, 'targetCpu' | 'cpuFlags' | 'costTable'>;

/** What is quantized. Changes nothing. */
export function decide(
  model: Model,
  request: StaticRequest,
  context: DecisionContext,
  floatValues: ReadonlySet<string> = new Set(),
): Decision {
  const { options, choices } = request;
  const view = viewOf(model);
  const wanted = filterNodes(model.graph.nodes, { include: options.include, exclude: options.exclude });
  const kept = new Set([...wanted].filter((node) => !floatValues.has(node.outputs[0] ?? '')));
  const settings = {
    ...wishesOf(request),
    perChannel: (node: Node) => isPerChannel(options, node),
    pairSafe: targetRules(context).weightRange === 'pair-safe',
  };
  const candidates = findCandidates(view, settings, kept);
  checkWeightOverrides(options, candidates.units.values(), { view, context });
  const units = new Map(candidates.units);
  const left: Skipped[] = [];
  const leave = (node: Node, reason: string): void => {
    units.delete(node);
    kept.delete(node);
    left.push({ node: nodeLabel(node), reason });
  };
  for (const node of candidates.units.keys()) {
    if (choiceOf(request, node) === 'float') leave(node, 'float is the type chosen for it');
    else if (request.inFloat?.has(node.outputs[0] ?? '') === true) leave(node, 'given back to float for the accuracy');
  }
  // What only adds or pools between layers in float would lose accuracy for nothing.
  if (left.length > 0) {
    for (const region of regionsOf(makePlan(view, units, settings, kept))) {
      if (region.some((node) => units.get(node)?.weight !== undefined)) continue;
      for (const node of region) leave(node, 'all layers around it stay in float');
    }
  }
  if (options.placement === 'layers') {
    for (const [node, { placement }] of candidates.units) {
      if (placement.kind === 'pointwise' && units.has(node)) leave(node, 'placement "layers" keeps it in float');
    }
  }
  // Other types than 8-bit ones have no kernels to compare, and an accelerator without floating point has no choice.
  const hasKernels = !options.activations.endsWith('16') && !isPackedType(options.weights);
  const byCost = choices === undefined && hasKernels && context.targetCpu !== 'int8-only';
  const costTable = byCost ? context.costTable : emptyCostTable();
  const isPinned = (node: Node): boolean => isPackedType(weightOverrideOf(options, node)?.type ?? 'int8');
  const choice = chooseUnits(view, { ...candidates, units }, { ...settings, kept, costTable, isPinned });
  checkOverrides(options, choice.plan);
  const skipped = [
    ...candidates.skipped.filter(({ node }) => !floatValues.has(node)),
    ...[...floatValues].map((node) => ({ node, reason: 'the factors of smoothing stay in float' })),
    ...left,
    ...choice.skipped,
    ...choice.plan.skipped,
  ];
  return { ...choice, view, skipped };
}

function checkOverrides({ overrides }: StaticOptions, plan: QuantPlan): void {
  for (const [name, { min, max, type }] of Object.entries(overrides)) {
    if (min !== undefined && max !== undefined && min > max) {
      throw new CompressionError('RECIPE_INVALID', `overrides "${name}": min ${min} is above max ${max}`);
    }
    const root = plan.roots.get(name);
    if (root === undefined) {
      const known = [...plan.roots.keys()].slice(0, 20).join(', ');
      throw new CompressionError(
        'RECIPE_NO_MATCH',
        `overrides "${name}" is no quantized value of the model; there are: ${known}`,
      );
    }
    if (type === undefined || plan.typeOf(name) === type) continue;
    throw new CompressionError(
      'RECIPE_INVALID',
      `overrides "${name}": it shares its codes with "${root}", which is ${plan.typeOf(name)}; give both the type ${type}`,
    );
  }
}

export function activationSettings(options: StaticOptions): ActivationSettings {
  const ranges = Object.entries(options.overrides).flatMap(([value, { min, max }]) =>
    min === undefined || max === undefined ? [] : [[value, { min, max }] as const],
  );
  return {
    symmetric: options.symmetric,
    method: options.method === 'learned' ? 'mse' : options.method,
    percentile: options.percentile,
    powerOfTwo: options.powerOfTwoScales,
    overrides: Object.fromEntries(ranges),
  };
}

function floatWarning(floatNodes: readonly FloatNode[]): string[] {
  if (floatNodes.length === 0) return [];
  const operators = [...new Set(floatNodes.map(({ operator }) => operator))].join(', ');
  return [`${floatNodes.length} nodes compute in float, which an integer accelerator cannot run: ${operators}`];
}
