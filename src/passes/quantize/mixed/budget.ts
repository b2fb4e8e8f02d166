import { CompressionError } from '../../../errors.ts';
import { macsOf } from '../../../onnx/cost/macs.ts';
import type { Model } from '../../../onnx/model.ts';
import { fileBytes } from '../../cost/file-bytes.ts';
import type { CostUnit, LayerCost } from './costs.ts';
import { solveKnapsack, type Solution } from './knapsack.ts';
import type { MixedLayer } from './layers.ts';
import type { Budget } from './options.ts';
import { selectionOf, type LayerOptions, type Selection } from './selection.ts';
import type { SensitivityTable } from './sensitivities.ts';

/** A limit on what the whole model, or its layers, may cost. */
export interface CostLimit {
  readonly option: string;
  readonly unit: CostUnit;
  /** In float. */
  readonly before: number;
  readonly limit: number;
}

/** @throws CompressionError PASS_PRECONDITION for a latency that no table tells */
export function limitOf(
  budget: Budget,
  model: Model,
  layers: readonly MixedLayer[],
  costOf: (unit: CostUnit) => LayerCost,
): CostLimit {
  const [option = '', value = 0] = Object.entries(budget).find(([, limit]) => limit !== undefined) ?? [];
  const inFloat = (unit: CostUnit): number => layers.reduce((sum, layer) => sum + costOf(unit)(layer, 'float'), 0);
  const elements = layers.reduce((sum, layer) => sum + layer.elements, 0);
  switch (option) {
    case 'averageBits':
      return { option, unit: 'weightBits', before: inFloat('weightBits'), limit: Math.floor(value * elements + 1e-6) };
    case 'bytesRatio':
    case 'maxBytes': {
      const before = fileBytes(model);
      return { option, unit: 'bytes', before, limit: option === 'maxBytes' ? value : Math.floor(value * before) };
    }
    case 'bopsRatio':
    case 'maxBops': {
      const before = macsOf(model).bitOperations;
      return { option, unit: 'bops', before, limit: option === 'maxBops' ? value : Math.floor(value * before) };
    }
    default: {
      const before = inFloat('latencyNs');
      if (before > 0) return { option, unit: 'latencyNs', before, limit: Math.floor(value * before) };
      throw new CompressionError(
        'PASS_PRECONDITION',
        'latencyRatio goes by the kernel cost table, which knows nothing of these layers; take another budget',
      );
    }
  }
}

/** Costs and losses of every candidate. */
export function optionsOf(
  layers: readonly MixedLayer[],
  sensitivities: SensitivityTable,
  costOf: LayerCost,
): readonly LayerOptions[] {
  return layers.map((layer, at) =>
    layer.candidates.map((candidate, index) => ({
      cost: costOf(layer, candidate),
      loss: sensitivities[at]?.[index]?.loss ?? 0,
    })),
  );
}

export interface BudgetSolution {
  readonly solution: Solution;
  /** What the limit leaves for the layers, by what the rest of the written model was found to cost. */
  readonly layerBudget: number;
  readonly rest: number;
}

/** Corrections of what the rest of the model costs: names and structure depend on the choice by a few bytes. */
const ROUNDS = 20;

/**
 * The selection with the least loss whose model stays within the limit.
 *
 * @param whole - what the model with a selection costs as a whole; undefined: what its layers cost
 * @throws CompressionError PASS_PRECONDITION when not even the cheapest selection does
 */
export async function solveWithin(
  options: readonly LayerOptions[],
  { option, unit, before, limit }: CostLimit,
  whole: (selection: Selection) => Promise<number | undefined>,
): Promise<BudgetSolution> {
  const cheapest = selectionOf(
    options,
    options.map((own) => own.reduce((best, { cost }, index) => (cost < (own[best]?.cost ?? 0) ? index : best), 0)),
  );
  const restOf = async (selection: Selection): Promise<number> =>
    ((await whole(selection)) ?? selection.cost) - selection.cost;
  let rest = await restOf(cheapest);
  for (let round = 0; round < ROUNDS; round += 1) {
    const solution = solveKnapsack(options, limit - rest);
    if (solution === undefined) break;
    const found = await restOf(solution);
    if (solution.cost + found <= limit) return { solution, layerBudget: limit - rest, rest: found };
    rest = Math.max(rest + 1, found);
  }
  const least = cheapest.cost + rest;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `${option} allows ${limit} ${WORDS[unit]}, and with the cheapest candidate in each of the ${options.length} layers it is ${least} ` +
      `(${before} in float); allow more, add narrower candidates, or exclude less`,
  );
}

const WORDS = {
  weightBits: 'bits of weights',
  bytes: 'bytes',
  bops: 'bit operations',
  latencyNs: 'ns',
} as const satisfies Record<CostUnit, string>;
