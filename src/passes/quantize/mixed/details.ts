import type { AccuracyMeter } from '../accuracy-meter.ts';
import type { AccuracyTrial } from './accuracy-target.ts';
import type { BudgetSolution, CostLimit } from './budget.ts';
import { weightBits, type CostUnit } from './costs.ts';
import type { ParetoSet } from './knapsack.ts';
import { choiceLabel, type MixedLayer } from './layers.ts';
import type { LayerOptions, Selection } from './selection.ts';
import type { SensitivityTable } from './sensitivities.ts';

/** Points of the Pareto set that the report shows. */
const SHOWN_POINTS = 64;

/** Signal over noise; null for none of the noise, or nothing but noise. */
export function decibels(error: number): number | null {
  return error > 0 && Number.isFinite(error) ? -10 * Math.log10(error) : null;
}

export function budgetDetails({ option, unit, before, limit }: CostLimit, { solution, rest }: BudgetSolution): object {
  const after = solution.cost + rest;
  return {
    option,
    unit,
    before,
    limit,
    after,
    /** What the best choice there is could lose less, as a share: 0 where this one is proved to be the best. */
    gap: solution.gap,
  };
}

export function accuracyDetails(
  { float, maxDrop }: AccuracyMeter,
  {
    chosen,
    trials,
    layers,
  }: {
    readonly chosen: AccuracyTrial;
    readonly trials: readonly AccuracyTrial[];
    readonly layers: readonly MixedLayer[];
  },
): object {
  const trialOf = ({ givenBack, selection, value, drop, met }: AccuracyTrial): object => ({
    givenBack,
    layers: countsOf(layers, selection.options),
    value,
    drop,
    met,
  });
  return {
    metric: float.metric,
    samples: float.samples,
    float: float.value,
    maxDrop,
    value: chosen.value,
    drop: chosen.drop,
    met: chosen.met,
    chosen: { givenBack: chosen.givenBack },
    trials: trials.map(trialOf),
  };
}

/** How many layers have each type. */
function countsOf(layers: readonly MixedLayer[], options: readonly number[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [at, { candidates }] of layers.entries()) {
    const label = choiceLabel(candidates[options[at] ?? 0] ?? 'float');
    counts[label] = (counts[label] ?? 0) + 1;
  }
  return counts;
}

/** Each layer with what it became and what its candidates would cost. */
export function layerDetails(
  layers: readonly MixedLayer[],
  {
    sensitivities,
    table,
    chosen,
  }: {
    readonly sensitivities: SensitivityTable;
    readonly table: readonly LayerOptions[];
    readonly chosen: readonly number[];
  },
): object[] {
  return layers.map(({ label, operator, elements, candidates }, at) => ({
    node: label,
    operator,
    weights: elements,
    choice: candidates[chosen[at] ?? 0],
    candidates: candidates.map((candidate, index) => {
      const { loss = 0, change, trace, squaredError } = sensitivities[at]?.[index] ?? {};
      return {
        choice: choiceLabel(candidate),
        cost: table[at]?.[index]?.cost ?? 0,
        loss,
        ...(change === undefined ? {} : { sqnrDb: decibels(change.error) }),
        ...(trace === undefined ? {} : { trace, squaredError }),
      };
    }),
  }));
}

/** The trade between cost and loss, with what the chosen point is one of. */
export function paretoDetails(
  { points, isComplete }: ParetoSet,
  {
    layers,
    chosen,
    rest,
    unit,
  }: {
    readonly layers: readonly MixedLayer[];
    readonly chosen: Selection;
    readonly rest: number;
    readonly unit: CostUnit;
  },
): object {
  const last = Math.max(1, points.length - 1);
  const shown = new Set(
    points.length <= SHOWN_POINTS
      ? points.keys()
      : Array.from({ length: SHOWN_POINTS }, (_, at) => Math.round((at * last) / (SHOWN_POINTS - 1))),
  );
  const weights = layers.reduce((sum, { elements }) => sum + elements, 0);
  const pointOf = ({ options, cost, loss }: Selection): object => {
    const bits = layers.reduce(
      (sum, { candidates, elements }, at) => sum + elements * weightBits(candidates[options[at] ?? 0] ?? 'float'),
      0,
    );
    return {
      cost: cost + rest,
      loss,
      averageBits: bits / Math.max(1, weights),
      layers: countsOf(layers, options),
    };
  };
  return {
    unit,
    /** False: only the points on the lower convex hull. */
    isComplete,
    count: points.length,
    chosen: pointOf(chosen),
    points: points.filter((_, at) => shown.has(at)).map(pointOf),
  };
}
