import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { OutputComparison } from '../../output-comparison.ts';
import { emptyCostTable } from '../../cost/kernel-cost-table.ts';
import type { PassContext, PassResult, SuggestionLimits } from '../../pass.ts';
import { partOf } from '../../progress-part.ts';
import type { LayerChoice } from '../static-request.ts';
import { quantizeStatically } from '../static-run.ts';
import { withinAccuracy } from './accuracy-target.ts';
import { limitOf, optionsOf, solveWithin, type BudgetSolution, type CostLimit } from './budget.ts';
import { modelCost, type CostUnit } from './costs.ts';
import { accuracyDetails, budgetDetails, decibels, layerDetails, paretoDetails } from './details.ts';
import { paretoSet } from './knapsack.ts';
import { choicesOf } from './layers.ts';
import { budgetOf, type Budget, type MixedOptions } from './options.ts';
import { selectionOf, type LayerOptions, type Selection } from './selection.ts';
import { calibrationOf, isGiven, layersOf, studyLayers, type Study } from './study.ts';

/** Of the time: most goes into sensitivities. */
const STUDIED_SHARE = 0.8;

/** What was chosen, and how the report tells it. */
interface Chosen {
  readonly selection: Selection;
  readonly table: readonly LayerOptions[];
  readonly unit: CostUnit;
  /** What the model costs besides its layers. */
  readonly rest: number;
  readonly result: PassResult;
  readonly warnings: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
}

/** Names of the layers that `layers` may speak of. */
export function layerNames(model: Model, options: MixedOptions): readonly string[] {
  return layersOf(model, { ...options, layers: {} }, ANY_TARGET).layers.map(({ label }) => label);
}

/** Which layers there are does not depend on the processor. */
const ANY_TARGET = { targetCpu: 'portable', cpuFlags: new Set<string>(), costTable: emptyCostTable() } as const;

/**
 * The choice with the least loss within a budget, of all layers: the step's own, else what a search that asks allows.
 *
 * @returns candidates by layer
 */
export async function exactChoice(
  model: Model,
  { options, limits }: { readonly options: MixedOptions; readonly limits: SuggestionLimits },
  context: PassContext,
): Promise<Readonly<Record<string, LayerChoice>>> {
  const study = await studyLayers(model, { ...options, layers: {} }, context);
  const { maxBytes, maxBops } = limits;
  const allowed = maxBytes !== undefined ? { maxBytes } : maxBops !== undefined ? { maxBops } : undefined;
  const { solution } = await solved(model, study, options.budget ?? allowed ?? budgetOf(options));
  return Object.fromEntries(
    study.layers.map(({ label, candidates }, at) => [label, candidates[solution.options[at] ?? 0] ?? 'float']),
  );
}

/** Chooses a type for each layer, by budget or by accuracy, and quantizes the model so. Changes the model. */
export async function quantizeMixed(model: Model, options: MixedOptions, context: PassContext): Promise<PassResult> {
  const study = await studyLayers(model, options, partOf(context, 0, STUDIED_SHARE));
  const { layers, sensitivities } = study;
  if (layers.length === 0) return { changes: 0, skipped: study.skipped, warnings: [], details: { choices: [] } };
  const float = copyModel(model);
  const rest = partOf(context, STUDIED_SHARE, 1);
  const chosen =
    isGiven(study) && options.budget === undefined
      ? await takeGiven(model, study, rest)
      : options.maxAccuracyDrop === undefined
        ? await chooseByBudget(model, study, budgetOf(options), rest)
        : await chooseByAccuracy(model, study, { maxDrop: options.maxAccuracyDrop, minimize: options.minimize }, rest);
  const comparison = await OutputComparison.create(float, calibrationOf(context), context);
  const change = await comparison.compare(model);
  const { selection, table, unit, result } = chosen;
  context.progress(1);
  return {
    ...result,
    warnings: [...result.warnings, ...chosen.warnings],
    details: {
      ...(study.measuredBy === undefined ? {} : { sensitivity: study.measuredBy }),
      ...chosen.details,
      choices: layerDetails(layers, { sensitivities, table, chosen: selection.options }),
      pareto: paretoDetails(paretoSet(table), { layers, chosen: selection, rest: chosen.rest, unit }),
      measured: {
        samples: calibrationOf(context).samples,
        sqnrDb: decibels(change.error),
        ...(comparison.knowsAccuracy ? { accuracyDrop: change.accuracyDrop } : {}),
      },
      ...result.details,
    },
  };
}

/** Every layer has the type that the recipe says: there is nothing to choose. */
async function takeGiven(
  model: Model,
  { layers, sensitivities, costOf, how }: Study,
  context: PassContext,
): Promise<Chosen> {
  const unit = 'bytes';
  const table = optionsOf(layers, sensitivities, costOf(unit));
  const selection = selectionOf(
    table,
    layers.map(() => 0),
  );
  const choices = choicesOf(layers, selection.options);
  const result = await quantizeStatically(model, { options: how, choices }, context);
  const rest = (modelCost(unit, model) ?? selection.cost) - selection.cost;
  return { selection, table, unit, rest, result, warnings: [], details: {} };
}

async function chooseByBudget(model: Model, study: Study, budget: Budget, context: PassContext): Promise<Chosen> {
  const { layers, how } = study;
  const { limit, table, solution, rest, layerBudget } = await solved(model, study, budget);
  const choices = choicesOf(layers, solution.options);
  const result = await quantizeStatically(model, { options: how, choices }, context);
  const details = { budget: budgetDetails(limit, { solution, rest, layerBudget }) };
  return { selection: solution, table, unit: limit.unit, rest, result, warnings: [], details };
}

async function solved(
  model: Model,
  study: Study,
  budget: Budget,
): Promise<BudgetSolution & { readonly limit: CostLimit; readonly table: readonly LayerOptions[] }> {
  const { layers, sensitivities } = study;
  const limit = limitOf(budget, model, layers, study.costOf);
  const { unit } = limit;
  const table = optionsOf(layers, sensitivities, study.costOf(unit));
  const solution = await solveWithin(table, limit, async ({ options: chosen }) =>
    unit === 'bytes' || unit === 'bops' ? modelCost(unit, await study.written(chosen)) : undefined,
  );
  return { ...solution, limit, table };
}

const UNITS = { bytes: 'bytes', bops: 'bops', latency: 'latencyNs' } as const satisfies Record<
  MixedOptions['minimize'],
  CostUnit
>;

async function chooseByAccuracy(
  model: Model,
  study: Study,
  { maxDrop, minimize }: { readonly maxDrop: number; readonly minimize: MixedOptions['minimize'] },
  context: PassContext,
): Promise<Chosen> {
  const { layers, sensitivities, how } = study;
  const unit = UNITS[minimize];
  const table = optionsOf(layers, sensitivities, study.costOf(unit));
  const quiet = { ...context, progress: () => undefined };
  const quantize = async ({ options }: Selection): Promise<{ readonly model: Model; readonly result: PassResult }> => {
    const candidate = copyModel(model);
    const choices = choicesOf(layers, options);
    return { model: candidate, result: await quantizeStatically(candidate, { options: how, choices }, quiet) };
  };
  const {
    chosen,
    result,
    model: best,
    trials,
    meter,
  } = await withinAccuracy(model, { maxDrop, table, quantize }, context);
  const whole = modelCost(unit, best);
  Object.assign(model, best);
  return {
    selection: chosen.selection,
    table,
    unit,
    rest: (whole ?? chosen.selection.cost) - chosen.selection.cost,
    result,
    warnings: chosen.met
      ? []
      : [
          `no choice keeps the accuracy within ${maxDrop}; the best one loses ${chosen.drop}; add wider candidates ("float"), or a rounding`,
        ],
    details: { accuracy: accuracyDetails(meter, { chosen, trials, layers }) },
  };
}
