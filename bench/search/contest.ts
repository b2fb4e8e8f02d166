import { evolution } from '../../src/search/evolution.ts';
import { nsga2 } from '../../src/search/nsga2.ts';
import { policyGradient } from '../../src/search/policy-gradient.ts';
import { randomSearch } from '../../src/search/random.ts';
import type { SearchSpace } from '../../src/search/space.ts';
import type { Strategy, StrategyOptions } from '../../src/search/strategy.ts';
import { tpe } from '../../src/search/tpe.ts';
import { landscapeError, landscapeSpace } from './landscape.ts';

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
export function bestErrors(contender: Contender, { trials, batch, seeds }: Contest): number[] {
  return Array.from({ length: seeds }, (_, seed) => {
    const strategy = STRATEGIES[contender](landscapeSpace, { seed });
    let best = Infinity;
    for (let done = 0; done < trials; done += batch) {
      const results = strategy.ask(Math.min(batch, trials - done)).map(({ index, point }) => {
        const error = landscapeError(point);
        best = Math.min(best, error);
        return { index, objectives: [error], violation: 0 };
      });
      strategy.tell(results);
    }
    return best;
  });
}
