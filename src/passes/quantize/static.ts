import { CompressionError } from '../../errors.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import { isPackedType } from '../../onnx/packed-integers.ts';
import { upgradeOpset } from '../../onnx/upgrade/upgrade-opset.ts';
import { calibrate } from '../calibrate.ts';
import type { ObservationPoint, Observations } from '../observe.ts';
import { definePass, type PassContext, type PassResult } from '../pass.ts';
import { activationParams, pointsOf, type ActivationSettings } from './activation-params.ts';
import { quantizeWithin } from './auto.ts';
import { chooseUnits, type Choice } from './choose-units.ts';
import { viewOf, type GraphView } from './graph-view.ts';
import { emptyCostTable } from '../cost/kernel-cost-table.ts';
import { filterNodes } from './node-filter.ts';
import { findCandidates, type QuantPlan } from './plan.ts';
import { ensureBiases, prepare, type Preparation } from './prepare.ts';
import { opsetFor } from './quant-type.ts';
import { QdqWriter } from './qdq-writer.ts';
import { QOperatorWriter, importMicrosoft } from './qoperator-writer.ts';
import { describeFloatNodes, describeLayers, describeValues, type FloatNode } from './static-details.ts';
import { StaticOptions } from './static-options.ts';
import { isRepairing, repair } from './repair/repair.ts';
import { saturationRisk, targetRules } from './target.ts';
import { planWeights } from './weight-plan.ts';
import type { WeightScheme } from './weights.ts';

/** Weights and activations in 8 bits, ranges from calibration data. */
export const quantizeStatic = definePass({
  name: 'quantize.static',
  stage: 'quantize',
  description: 'int8 weights and activations with ranges from calibration data',
  papers: [
    {
      title:
        'Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018',
      url: 'https://arxiv.org/abs/1712.05877',
    },
    {
      title: 'Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019',
      url: 'https://arxiv.org/abs/1906.04721',
    },
    {
      title:
        'Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, ICML 2023',
      url: 'https://arxiv.org/abs/2211.10438',
    },
    {
      title: 'Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020',
      url: 'https://arxiv.org/abs/2004.10568',
    },
    {
      title:
        'Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023',
      url: 'https://arxiv.org/abs/2210.17323',
    },
  ],
  options: StaticOptions,
  example: { method: 'minmax', perChannel: true },
  needs: ({ accuracy }) => (accuracy === 'auto' ? ['calibration', 'evaluation'] : ['calibration']),
  requires(model, options) {
    if (options.format === 'qoperator' && options.activations.endsWith('16')) {
      return 'integer operators take 8-bit activations only; use format qdq for 16 bits';
    }
    if (options.activations === 'int8' && options.weights === 'uint8') {
      return 'int8 activations with uint8 weights have no kernel; use uint8 activations or int8 weights';
    }
    if (options.format === 'qoperator' && isPackedType(options.weights)) {
      return `integer operators take 8-bit weights only; use format qdq for ${options.weights}`;
    }
    if (options.rounding === 'adaround' && options.biasCorrection !== 'none') {
      return 'adaround fits the outputs, means included, so biasCorrection would correct it twice; leave one of them out';
    }
    const opset = opsetOf(model);
    if (opset >= 13) return undefined;
    return `quantizers need opset 13, the model has ${opset}; run canonicalize first, which raises it`;
  },
  observe(model, options, context) {
    // A model that is rewritten first is observed as it then is, by `run`.
    if (isPrepared(model, options) || options.accuracy === 'auto') return [];
    const { plan, view } = decide(model, options, context, new Set());
    return pointsOf(plan, view, activationSettings(options));
  },
  run(model, options, context) {
    if (options.accuracy === 'as-given') return quantize(model, options, context);
    return quantizeWithin(
      model,
      {
        maxDrop: options.maxAccuracyDrop ?? context.maxAccuracyDrop ?? MAX_ACCURACY_DROP,
        quantize: (candidate, added) => quantize(candidate, { ...options, ...added }, context),
      },
      context,
    );
  },
  ensures: () => undefined,
});

/** What accuracy "auto" may lose where neither options nor job say: a tenth of a point. */
const MAX_ACCURACY_DROP = 0.001;

async function quantize(model: Model, options: StaticOptions, context: PassContext): Promise<PassResult> {
  const preparation = await prepareIfUseful(model, options, context);
  const decideOn = (candidate: Model): Decision => decide(candidate, options, context, preparation.floatValues);
  const first = decideOn(model);
  const observations = await observed(model, pointsOf(first.plan, first.view, activationSettings(options)), context);
  const params = activationParams(first.plan, first.view, activationSettings(options), observations);
  const scheme = weightScheme(options, context);
  const isRepaired = isRepairing(options) && first.plan.units.size > 0;
  const quantization = { decide: decideOn, params, schemeOf: () => scheme };
  const repaired = isRepaired ? await repair(model, quantization, options, context) : undefined;
  // Corrected biases are other constants: the same decision, with them.
  const { plan, view, skipped, estimate } = repaired === undefined ? first : decideOn(model);
  const weights = planWeights(plan, params, () => scheme, repaired?.learned);
  const compute = [...plan.units.values()].filter((unit) => unit.kind === 'compute');
  const layers = describeLayers(compute, weights);
  const floatNodes = context.targetCpu === 'int8-only' ? describeFloatNodes(view, plan) : [];
  const details = {
    target: context.targetCpu,
    targetExplanation: targetRules(context).explanation,
    costTable: context.costTable.hash,
    ...(estimate === undefined ? {} : { estimatedNs: { before: estimate.floatNs, after: estimate.int8Ns } }),
    calibrationSamples: observations?.samples ?? 0,
    saturationRisk: saturationRisk(
      layers.filter((layer) => layer.weight?.canSaturate === true).map(({ node }) => node),
    ),
    ...(floatNodes.length === 0 ? {} : { floatNodes }),
    ...preparation.report,
    ...(repaired === undefined ? {} : { repaired: repaired.layers }),
    layers,
    activations: describeValues(plan, params),
  };
  if (compute.length > 0) {
    const job = {
      model,
      view,
      plan,
      params,
      weights,
    };
    (options.format === 'qdq' ? new QdqWriter(job) : new QOperatorWriter(job)).write();
    importMicrosoft(model);
  }
  context.progress(1);
  return {
    changes: compute.length,
    skipped: [...preparation.skipped, ...(repaired?.skipped ?? []), ...skipped],
    warnings: [...warningsOf(options, context), ...floatWarning(floatNodes)],
    details,
  };
}

const NO_PREPARATION: Preparation = { report: {}, skipped: [], floatValues: new Set() };

/** Rewrites the model where the options ask for it and something of it is going to be quantized. */
async function prepareIfUseful(model: Model, options: StaticOptions, context: PassContext): Promise<Preparation> {
  if (!isPrepared(model, options)) return NO_PREPARATION;
  const { plan } = decide(model, options, context, new Set());
  if (plan.units.size === 0) return NO_PREPARATION;
  if (options.biasCorrection !== 'none') {
    ensureBiases(
      model,
      [...plan.units.values()].filter((unit) => unit.kind === 'compute'),
    );
  }
  raiseOpset(model, options);
  return prepare(model, { equalize: options.equalize, smooth: options.smooth }, context);
}

function isPrepared(model: Model, options: StaticOptions): boolean {
  const rewrites = options.equalize || options.smooth !== undefined || options.biasCorrection !== 'none';
  return rewrites || opsetOf(model) < neededOpset(options);
}

function neededOpset({ activations, weights }: StaticOptions): number {
  return Math.max(opsetFor(activations), opsetFor(weights));
}

function raiseOpset(model: Model, options: StaticOptions): void {
  const opset = neededOpset(options);
  const { to, skipped } = upgradeOpset(model, Math.max(opset, opsetOf(model)));
  if (to >= opset) return;
  const held = skipped.slice(0, 5).map(({ node, reason }) => `${node}: ${reason}`);
  throw new CompressionError(
    'PASS_PRECONDITION',
    `quantize.static: ${options.weights} weights and ${options.activations} activations need opset ${opset}, the model stays at ${to} ` +
      `(${held.join('; ')}); use 8-bit types`,
  );
}

/** The answers of the pass manager, or those of the prepared model. */
function observed(
  model: Model,
  points: readonly ObservationPoint[],
  context: PassContext,
): Promise<Observations | undefined> {
  const feeds = context.data.calibration;
  if (context.observations !== undefined || points.length === 0 || feeds === undefined) {
    return Promise.resolve(context.observations);
  }
  return calibrate(model, points, feeds, context);
}

interface Decision extends Choice {
  readonly view: GraphView;
}

function decide(
  model: Model,
  options: StaticOptions,
  context: PassContext,
  floatValues: ReadonlySet<string>,
): Decision {
  const view = viewOf(model);
  const wanted = filterNodes(model.graph.nodes, { include: options.include, exclude: options.exclude });
  const kept = new Set([...wanted].filter((node) => !floatValues.has(node.outputs[0] ?? '')));
  const settings = {
    activations: options.activations,
    perChannel: options.perChannel,
    pairSafe: targetRules(context).weightRange === 'pair-safe',
  };
  const candidates = findCandidates(view, settings, kept);
  // Other types than 8-bit ones have no kernels to compare, and an accelerator without floating point has no choice.
  const hasKernels = !options.activations.endsWith('16') && !isPackedType(options.weights);
  const byCost = hasKernels && context.targetCpu !== 'int8-only';
  const costTable = byCost ? context.costTable : emptyCostTable();
  const choice = chooseUnits(view, candidates, { ...settings, kept, costTable });
  checkOverrides(options, choice.plan);
  const skipped = [
    ...candidates.skipped.filter(({ node }) => !floatValues.has(node)),
    ...[...floatValues].map((node) => ({ node, reason: 'the factors of smoothing stay in float' })),
    ...choice.skipped,
    ...choice.plan.skipped,
  ];
  return { ...choice, view, skipped };
}

function checkOverrides(options: StaticOptions, plan: QuantPlan): void {
  for (const [name, { min, max }] of Object.entries(options.overrides)) {
    if (min > max) throw new CompressionError('RECIPE_INVALID', `overrides "${name}": min ${min} is above max ${max}`);
    if (plan.roots.has(name)) continue;
    const known = [...plan.roots.keys()].slice(0, 20).join(', ');
    throw new CompressionError(
      'RECIPE_NO_MATCH',
      `overrides "${name}" is no quantized value of the model; there are: ${known}`,
    );
  }
}

function activationSettings(options: StaticOptions): ActivationSettings {
  return {
    symmetric: options.symmetric,
    method: options.method,
    percentile: options.percentile,
    powerOfTwo: options.powerOfTwoScales,
    overrides: options.overrides,
  };
}

function weightScheme(options: StaticOptions, context: PassContext): WeightScheme {
  return {
    type: options.weights,
    symmetric: true,
    // uint8 * uint8 has its own kernels, which widen to int16 before they multiply, and smaller types have none: nothing saturates.
    range: options.weights === 'int8' ? targetRules(context).weightRange : 'full',
    powerOfTwo: options.powerOfTwoScales,
  };
}

function warningsOf(options: StaticOptions, { targetCpu }: PassContext): string[] {
  const warnings: string[] = [];
  const onArm = targetCpu === 'arm64-dotprod' || targetCpu === 'int8-only';
  if (options.activations.endsWith('16')) {
    warnings.push(
      'CPUs have no kernels for 16-bit activations: the model computes in float between quantizers and is slower',
    );
  } else if (options.activations === 'int8' && !onArm) {
    warnings.push('x64 kernels want uint8 activations: with int8 ones the model may be slower than in float');
  }
  if (isPackedType(options.weights)) {
    warnings.push(
      `CPUs have no kernels for ${options.weights} weights of these operators: the file is smaller, but the model computes in float ` +
        'between quantizers and is slower than in int8',
    );
  }
  if (options.weights === 'uint8' && !onArm) {
    warnings.push('x64 kernels for uint8 weights are slower than those for int8 weights');
  }
  return warnings;
}

function floatWarning(floatNodes: readonly FloatNode[]): string[] {
  if (floatNodes.length === 0) return [];
  const operators = [...new Set(floatNodes.map(({ operator }) => operator))].join(', ');
  return [`${floatNodes.length} nodes compute in float, which an integer accelerator cannot run: ${operators}`];
}
