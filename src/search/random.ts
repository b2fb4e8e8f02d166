import { askTell } from './ask-tell.ts';
import type { SearchSpace } from './space.ts';
import type { Strategy, StrategyOptions } from './strategy.ts';

/**
 * Points drawn evenly, whatever the results: the baseline that every other strategy has to beat at the same budget.
 * @see Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019
 */
export function randomSearch(space: SearchSpace, options: StrategyOptions): Strategy {
  return askTell(space, options, (rng) => ({ propose: () => space.sample(rng), observe: () => undefined }));
}
