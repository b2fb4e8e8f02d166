import { setImmediate } from 'node:timers/promises';
import { defined } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import { copyModel } from '../../training/copy-model.ts';
import { OutputComparison } from '../output-comparison.ts';
import type { PassContext, PassResult } from '../pass.ts';
import { filterNodes } from '../quantize/node-filter.ts';
import { chooseRanks, type Candidate, type Decision } from './choose-ranks.ts';
import { inputMoments, MAX_FAN_IN, type InputMoments } from './input-covariance.ts';
import { fanIn, findDenseLayers, layerMacs, type DenseLayer } from './layers.ts';
import { chooseWithinBudget, type BudgetChoice } from './loss-budget.ts';
import { namedRule, ruleFor } from './named-ranks.ts';
import { rankRuleOf, type LossBudget, type RankOptions, type RankRule } from './options.ts';
import { canTakeBias, LayerReplacer } from './replace-layer.ts';
import { kernelText, relativeError, type Variant } from './svd-variant.ts';

export interface FactorizeOptions extends RankOptions {
  readonly dataAware: 'auto' | boolean;
  readonly include?: readonly string[] | undefined;
  readonly exclude: readonly string[];
}

/** The ways to write a layer; none when it is no matter for this pass, in words. */
export type VariantsOf = (
  layer: DenseLayer,
  moments: InputMoments | undefined,
  rule: RankRule,
) => readonly Variant[] | string;

/** Those that a rank can be chosen for. */
export function factorableLayers(
  model: Model,
  { include, exclude }: Pick<FactorizeOptions, 'include' | 'exclude'>,
): readonly DenseLayer[] {
  return findDenseLayers(model, filterNodes(model.graph.nodes, { include, exclude })).layers;
}

/** Finds the layers, weighs the ranks, and writes the chains. What `factorize.svd` and `factorize.tucker` share. */
export async function factorizeModel(
  model: Model,
  options: FactorizeOptions,
  context: PassContext,
  variantsOf: VariantsOf,
): Promise<PassResult> {
  const asked = rankRuleOf(options);
  const kept = filterNodes(model.graph.nodes, { include: options.include, exclude: options.exclude });
  const { layers: found, skipped: unfit, totalMacs } = findDenseLayers(model, kept);
  const skipped = [...unfit];
  const rule = asked.by === 'name' ? namedRule(found, asked.ranks) : asked;
  const layers = found.filter((layer) => rule.by !== 'name' || rule.rankOf.has(layer));
  for (const layer of found)
    if (!layers.includes(layer)) skipped.push({ node: layer.label, reason: 'ranks leaves it as it is' });
  const warnings: string[] = [];
  const feeds = options.dataAware === false ? undefined : context.data.calibration;
  const moments = new Map<DenseLayer, InputMoments>();
  if (feeds !== undefined && layers.length > 0) {
    const measured = await inputMoments(model, layers, feeds, {
      ...context,
      progress: (fraction, message) => context.progress(fraction * MEASURING_SHARE, message),
    });
    for (const [layer, found] of measured) moments.set(layer, canTakeBias(model, layer) ? found : uncentred(found));
    const large = layers.filter((layer) => fanIn(layer) > MAX_FAN_IN).map(({ label }) => label);
    if (large.length > 0) {
      warnings.push(
        `${large.join(', ')}: more than ${MAX_FAN_IN} inputs an output, too many for their covariance; factored by the weights alone`,
      );
    }
  }
  const candidates: Candidate[] = [];
  for (const [index, layer] of layers.entries()) {
    // Between layers the event loop runs, so that a cancel arrives.
    await setImmediate();
    context.signal.throwIfAborted();
    context.progress(MEASURING_SHARE + ((1 - MEASURING_SHARE) * index) / layers.length, `decomposing ${layer.label}`);
    const own = ruleFor(layer, rule);
    if (own === undefined) continue;
    const variants = layer.weight.every((value) => value === 0)
      ? 'its weight is all zeros'
      : variantsOf(layer, moments.get(layer), own);
    if (typeof variants === 'string') skipped.push({ node: layer.label, reason: variants });
    else candidates.push({ layer, variants });
  }
  if (candidates.length === 0 && found.length === 0 && unfit.length === 0) {
    return { changes: 0, skipped, warnings, details: {} };
  }
  const run = { model, moments, context };
  const chosen =
    rule.by === 'budget' ? await withinBudget(candidates, rule, run) : chooseRanks(candidates, rule, totalMacs);
  skipped.push(...chosen.skipped);
  if (rule.by === 'budget' && chosen.decisions.length === 0 && candidates.length > 0) {
    warnings.push('not a single layer can be factored within the budget; allow more, or use another rule');
  }
  const writer = new ChainWriter(model, moments);
  const described = chosen.decisions.map(({ layer, variant, rank }) => {
    const own = moments.get(layer);
    const product = writer.write({ layer, variant, rank });
    return {
      node: layer.label,
      form: variant.kind,
      ...(layer.kernel.length > 0 ? { kernel: kernelText(layer) } : {}),
      ...(variant.ranks === undefined ? { rank, fullRank: variant.fullRank } : { rank: variant.ranks(rank) }),
      error: relativeError(layer, product, own),
      errorOf: own === undefined ? 'weights' : 'outputs',
      parameters: { before: layer.weight.length, after: variant.parameters(rank) },
      ...(layer.positions === undefined ? {} : { macs: { before: layerMacs(layer), after: variant.macs(rank) } }),
    };
  });
  const saved = described.reduce((sum, { macs }) => sum + (macs === undefined ? 0 : macs.before - macs.after), 0);
  context.progress(1);
  return {
    changes: described.length,
    skipped,
    warnings,
    details: {
      macs: { before: totalMacs, after: totalMacs - saved },
      usedCalibration: moments.size > 0,
      ...('measured' in chosen ? { measured: chosen.measured } : {}),
      layers: described,
    },
  };
}

const MEASURING_SHARE = 0.5;

/** Measures on copies of the model, on the calibration data. */
async function withinBudget(
  candidates: readonly Candidate[],
  budget: LossBudget,
  { model, moments, context }: { readonly model: Model; readonly moments: Moments; readonly context: PassContext },
): Promise<BudgetChoice> {
  const feeds = defined(context.data.calibration, 'calibration data');
  const comparison = await OutputComparison.create(model, feeds, context);
  if (budget.of === 'accuracyDrop') comparison.requireAccuracy('maxAccuracyDrop', 'use errorBudget');
  return chooseWithinBudget(candidates, budget, {
    measure: async (decisions) => {
      context.signal.throwIfAborted();
      const trial = copyModel(model);
      const writer = new ChainWriter(trial, moments);
      const copies = new Map(
        model.graph.nodes.map((node, at) => [node, defined(trial.graph.nodes[at], 'copied node')]),
      );
      for (const decision of decisions)
        writer.write(decision, defined(copies.get(decision.layer.node), 'copied layer'));
      return comparison.compare(trial);
    },
    progress: (fraction) => context.progress(MEASURING_SHARE + (1 - MEASURING_SHARE) * fraction, 'measuring ranks'),
  });
}

type Moments = ReadonlyMap<DenseLayer, InputMoments>;

/** Puts the chains of decisions into a model. */
class ChainWriter {
  readonly #model: Model;
  readonly #moments: Moments;
  readonly #replacer: LayerReplacer;

  constructor(model: Model, moments: Moments) {
    this.#model = model;
    this.#moments = moments;
    this.#replacer = new LayerReplacer(model);
  }

  /**
   * @param node - the layer's node in this model, where that is a copy
   * @returns the matrix that the chain multiplies by
   */
  write({ layer, variant, rank }: Decision, node: Node = layer.node): Float64Array {
    const here = { ...layer, node };
    const own = this.#moments.get(layer);
    const { chain, product } = variant.build(rank);
    const shiftsBias = own !== undefined && canTakeBias(this.#model, here);
    this.#replacer.replace(here, chain, shiftsBias ? biasChange(layer, product, own.mean) : undefined);
    return product;
  }
}

/** E[x x^T] in place of the covariance: for layers whose bias cannot take up a change of the mean. */
function uncentred({ mean, covariance }: InputMoments): InputMoments {
  const size = mean.length;
  for (let i = 0; i < size; i += 1) {
    for (let j = 0; j < size; j += 1) {
      covariance[i * size + j] = (covariance[i * size + j] ?? 0) + (mean[i] ?? 0) * (mean[j] ?? 0);
    }
  }
  return { mean, covariance };
}

/** (W - product) mean: the outputs keep their mean on the calibration data. */
function biasChange(layer: DenseLayer, product: Float64Array, mean: Float64Array): Float64Array {
  const inner = fanIn(layer);
  return Float64Array.from({ length: layer.outputs }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < inner; j += 1) {
      sum += ((layer.weight[i * inner + j] ?? 0) - (product[i * inner + j] ?? 0)) * (mean[j] ?? 0);
    }
    return sum;
  });
}
