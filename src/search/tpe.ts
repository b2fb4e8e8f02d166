import { askTell, type Trial } from './ask-tell.ts';
import { bestFirst } from './order.ts';
import { categoricalEstimator, parzenEstimator, type Estimator } from './parzen.ts';
import type { Scalarize } from './scalar-order.ts';
import type { Coordinates, SearchSpace } from './space.ts';
import type { Strategy, StrategyOptions } from './strategy.ts';

export interface TpeOptions extends StrategyOptions {
  /** Random trials before the first model. 15 unless given. */
  readonly startup?: number;
  /** Share of the trials that counts as good, 0.15 to 0.25. */
  readonly gamma?: number;
  /** Points drawn from the good density for each proposal. */
  readonly candidates?: number;
  /** One number to go by. Without it several objectives are ordered by front, and in a front by the room around. */
  readonly scalarize?: Scalarize;
}

/** Good trials at most: more would blur what is good. */
const MAX_GOOD = 25;

/**
 * Tree-structured Parzen estimator: the densities l of the good trials and g of the others, a dimension at a time; of some
 * points drawn from l the one with the largest l / g is tried, which has the largest expected improvement. Infeasible trials
 * are worse than all feasible ones.
 * @see Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, section 4
 */
export function tpe(space: SearchSpace, options: TpeOptions): Strategy {
  const { startup = 15, gamma = 0.2, candidates = 24, scalarize } = options;
  return askTell(space, options, (rng) => {
    const trials: Trial[] = [];
    let model: readonly Pair[] | undefined;
    return {
      propose() {
        if (trials.length < startup) return space.sample(rng);
        model ??= estimate(space, bestFirst(trials, scalarize), gamma);
        let best: Coordinates | undefined;
        let bestRatio = -Infinity;
        for (let i = 0; i < candidates; i += 1) {
          const drawn = model.map(({ good }) => good.sample(rng));
          const ratio = logRatio(model, drawn);
          if (best === undefined || ratio > bestRatio) [best, bestRatio] = [drawn, ratio];
        }
        return best ?? space.sample(rng);
      },
      observe(batch) {
        trials.push(...batch);
        model = undefined;
      },
    };
  });
}

interface Pair {
  readonly good: Estimator;
  readonly bad: Estimator;
}

function logRatio(model: readonly Pair[], coordinates: Coordinates): number {
  let sum = 0;
  model.forEach(({ good, bad }, d) => {
    const x = coordinates[d] ?? 0;
    sum += good.logDensity(x) - bad.logDensity(x);
  });
  return sum;
}

function estimate(space: SearchSpace, sorted: readonly Trial[], gamma: number): Pair[] {
  const good = Math.min(MAX_GOOD, Math.max(1, Math.ceil(gamma * sorted.length)));
  const estimator = (d: number, trials: readonly Trial[]): Estimator => {
    const observed = trials.map(({ coordinates }) => coordinates[d] ?? 0);
    return space.ordered(d)
      ? parzenEstimator(observed, space.count(d))
      : categoricalEstimator(observed, space.count(d));
  };
  return space.dimensions.map((_, d) => ({
    good: estimator(d, sorted.slice(0, good)),
    bad: estimator(d, sorted.slice(good)),
  }));
}
