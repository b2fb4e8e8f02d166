import { evolution } from '../../search/evolution.ts';
import { nsga2 } from '../../search/nsga2.ts';
import { layerPolicy } from '../../search/layer-policy.ts';
import { policyGradient } from '../../search/policy-gradient.ts';
import { tpe } from '../../search/tpe.ts';
import { randomSearch } from '../../search/random.ts';
import type { SearchSpace } from '../../search/space.ts';
import type { Strategy, StrategyOptions } from '../../search/strategy.ts';

/** What a strategy knows of the search beside its space. */
export interface StrategyPlan extends StrategyOptions {
  readonly trials: number;
  readonly batch: number;
}

/** Every strategy of searches whose trials are jobs. */
const STRATEGIES = {
  evolution: (space, plan) => evolution(space, { ...plan, ...populationOf(plan) }),
  nsga2: (space, plan) => nsga2(space, { ...plan, population: Math.max(4, Math.min(40, plan.batch)) }),
  tpe: (space, plan) =>
    tpe(space, { ...plan, startup: Math.max(plan.batch, Math.min(20, Math.ceil(plan.trials / 3))) }),
  rl: (space, plan) =>
    plan.budget === undefined ? policyGradient(space, plan) : layerPolicy(space, { ...plan, budget: plan.budget }),
  random: randomSearch,
} as const satisfies Record<string, (space: SearchSpace, plan: StrategyPlan) => Strategy>;

export type StrategyName = keyof typeof STRATEGIES;
export const STRATEGY_NAMES = Object.keys(STRATEGIES) as [StrategyName, ...StrategyName[]];

export function createStrategy(name: StrategyName, space: SearchSpace, plan: StrategyPlan): Strategy {
  return STRATEGIES[name](space, plan);
}

/** A third of the trials is the first population, the rest is bred from it. */
function populationOf({ trials, batch }: StrategyPlan): { population: number; tournament: number } {
  const population = Math.min(50, Math.max(batch, Math.ceil(trials / 3)));
  return { population, tournament: Math.max(2, Math.round(population / 4)) };
}
