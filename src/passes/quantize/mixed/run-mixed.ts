import type { Model } from '../../../onnx/model.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { OutputComparison } from '../../output-comparison.ts';
import type { PassContext, PassResult } from '../../pass.ts';
import { quantizeStatically } from '../static-run.ts';
import { limitOf, optionsOf, solveWithin } from './budget.ts';
import { modelCost } from './costs.ts';
import { budgetDetails, decibels, layerDetails, paretoDetails } from './details.ts';
import { paretoSet } from './knapsack.ts';
import { choicesOf } from './layers.ts';
import { budgetOf, type MixedOptions } from './options.ts';
import { calibrationOf, studyLayers } from './study.ts';

/** Of the time: most goes into sensitivities. */
const STUDIED_SHARE = 0.8;

/** Chooses a type for each layer, the least loss that the budget allows, and quantizes the model so. Changes the model. */
export async function quantizeMixed(model: Model, options: MixedOptions, context: PassContext): Promise<PassResult> {
  const study = await studyLayers(model, options, within(context, 0, STUDIED_SHARE));
  const { layers, sensitivities, how } = study;
  if (layers.length === 0) return { changes: 0, skipped: study.skipped, warnings: [], details: { choices: [] } };
  const limit = limitOf(budgetOf(options), model, layers, study.costOf);
  const table = optionsOf(layers, sensitivities, study.costOf(limit.unit));
  const solved = await solveWithin(table, limit, async ({ options: chosen }) =>
    limit.unit === 'bytes' || limit.unit === 'bops' ? modelCost(limit.unit, await study.written(chosen)) : undefined,
  );
  const { solution } = solved;
  const float = copyModel(model);
  const choices = choicesOf(layers, solution.options);
  const result = await quantizeStatically(model, { options: how, choices }, within(context, STUDIED_SHARE, 1));
  const comparison = await OutputComparison.create(float, calibrationOf(context), context);
  const change = await comparison.compare(model);
  return {
    ...result,
    details: {
      sensitivity: options.sensitivity,
      budget: budgetDetails(limit, solved),
      choices: layerDetails(layers, { sensitivities, table, chosen: solution.options }),
      pareto: paretoDetails(paretoSet(table), { layers, chosen: solution, rest: solved.rest, unit: limit.unit }),
      measured: {
        samples: calibrationOf(context).samples,
        sqnrDb: decibels(change.error),
        ...(comparison.knowsAccuracy ? { accuracyDrop: change.accuracyDrop } : {}),
      },
      ...result.details,
    },
  };
}

function within(context: PassContext, from: number, to: number): PassContext {
  return { ...context, progress: (done, message) => context.progress(from + (to - from) * done, message) };
}
