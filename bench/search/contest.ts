import { hypervolume } from '../../src/search/hypervolume.ts';
import { evolution } from '../../src/search/evolution.ts';
import { nsga2 } from '../../src/search/nsga2.ts';
import { policyGradient } from '../../src/search/policy-gradient.ts';
import { randomSearch } from '../../src/search/random.ts';
import type { Point, SearchSpace } from '../../src/search/space.ts';
import type { Strategy, StrategyOptions } from '../../src/search/strategy.ts';
import { tpe } from '../../src/search/tpe.ts';
import { LANDSCAPE_REFERENCE, landscapeError, landscapeLogCost, landscapeSpace } from './landscape.ts';

/** Every strategy with its own defaults, but for the population of NSGA-II, which has to fit the trials. */
const STRATEGIES = {
  random: randomSearch,
  evolution,
  nsga2: (space, options) => nsga2(space, { ...options, population: 20 }),
  tpe,
  'policy-gradient': policyGradient,
} as const satisfies Record<string, (space: SearchSpace, options: StrategyOptions) => Strategy>;

type Contender = keyof typeof STRATEGIES;

export const CONTENDERS = Object.keys(STRATEGIES) as readonly Contender[];

export interface Contest {
  readonly trials: number;
  readonly batch: number;
  /** Runs with seeds 0, 1, ... */
  readonly seeds: number;
}

/** The lowest error of the landscape that a strategy found, for each seed. */
export function bestErrors(contender: Contender, contest: Contest): number[] {
  return runs(contender, contest, (point) => [landscapeError(point)]).map((found) =>
    found.reduce((best, [error = Infinity]) => Math.min(best, error), Infinity),
  );
}

/** The hypervolume of error and cost that a strategy reached, which goes by both, for each seed. */
export function frontVolumes(contender: Contender, contest: Contest): number[] {
  return runs(contender, contest, (point) => [landscapeError(point), landscapeLogCost(point)]).map((found) =>
    hypervolume(found, LANDSCAPE_REFERENCE),
  );
}

/** Objectives of all trials, for each seed. */
function runs(
  contender: Contender,
  { trials, batch, seeds }: Contest,
  objectivesOf: (point: Point) => readonly number[],
): (readonly number[])[][] {
  return Array.from({ length: seeds }, (_, seed) => {
    const strategy = STRATEGIES[contender](landscapeSpace, { seed });
    const found: (readonly number[])[] = [];
    while (found.length < trials) {
      const results = strategy
        .ask(Math.min(batch, trials - found.length))
        .map(({ index, point }) => ({ index, objectives: objectivesOf(point), violation: 0 }));
      strategy.tell(results);
      found.push(...results.map(({ objectives }) => objectives));
    }
    return found;
  });
}
