import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { OutputComparison } from '../../output-comparison.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { quantizeStatically } from '../static-run.ts';
import { withinAccuracy } from './accuracy-target.ts';
import { limitOf, optionsOf, solveWithin } from './budget.ts';
import { modelCost, type CostUnit } from './costs.ts';
import { accuracyDetails, budgetDetails, decibels, layerDetails, paretoDetails } from './details.ts';
import { paretoSet } from './knapsack.ts';
import { choicesOf } from './layers.ts';
import { budgetOf, type Budget, type MixedOptions } from './options.ts';
import type { LayerOptions, Selection } from './selection.ts';
import { calibrationOf, studyLayers, type Study } from './study.ts';

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

/** Chooses a type for each layer, by budget or by accuracy, and quantizes the model so. Changes the model. */
export async function quantizeMixed(model: Model, options: MixedOptions, context: PassContext): Promise<PassResult> {
  const study = await studyLayers(model, options, within(context, 0, STUDIED_SHARE));
  const { layers, sensitivities } = study;
  if (layers.length === 0) return { changes: 0, skipped: study.skipped, warnings: [], details: { choices: [] } };
  const float = copyModel(model);
  const rest = within(context, STUDIED_SHARE, 1);
  const chosen =
    options.maxAccuracyDrop === undefined
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
      sensitivity: options.sensitivity,
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

async function chooseByBudget(model: Model, study: Study, budget: Budget, context: PassContext): Promise<Chosen> {
  const { layers, sensitivities, how } = study;
  const limit = limitOf(budget, model, layers, study.costOf);
  const { unit } = limit;
  const table = optionsOf(layers, sensitivities, study.costOf(unit));
  const solved = await solveWithin(table, limit, async ({ options: chosen }) =>
    unit === 'bytes' || unit === 'bops' ? modelCost(unit, await study.written(chosen)) : undefined,
  );
  const { solution, rest } = solved;
  const choices = choicesOf(layers, solution.options);
  const result = await quantizeStatically(model, { options: how, choices }, context);
  const details = { budget: budgetDetails(limit, solved) };
  return { selection: solution, table, unit, rest, result, warnings: [], details };
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

function within(context: PassContext, from: number, to: number): PassContext {
  return { ...context, progress: (done, message) => context.progress(from + (to - from) * done, message) };
}
