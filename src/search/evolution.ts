import { askTell, type Trial } from './ask-tell.ts';
import { comparisonAmong } from './order.ts';
import type { Scalarize } from './scalar-order.ts';
import type { SearchSpace } from './space.ts';
import type { Strategy, StrategyOptions } from './strategy.ts';
import { mutateOne } from './variation.ts';

export interface EvolutionOptions extends StrategyOptions {
  /** Trials that can be parents: the newest ones. The paper has 100 for 20,000 trials; 20 to 50 suit some hundreds. */
  readonly population?: number;
  /** Members drawn (with replacement) for each child, the best of which becomes its parent. */
  readonly tournament?: number;
  /** One number to go by. Without it several objectives are ordered by front, and in a front by the room around. */
  readonly scalarize?: Scalarize;
}

/**
 * Regularized evolution: a child is the winner of a tournament with one dimension mutated, and the oldest member dies, not the
 * worst, so that nothing survives by one lucky measurement. Feasible trials win over infeasible ones; with several objectives
 * the tournament goes by front, and in a front by the room around, among the members. The first members are random; where points
 * are given to begin with, they are these and mutations of them: in a space with a dimension a layer a random point is far behind
 * a good guess, and nothing would be bred from it.
 * @see Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, algorithm 1; for several objectives
 * the crowded comparison of Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEC 2002, III.C
 */
export function evolution(space: SearchSpace, options: EvolutionOptions): Strategy {
  const { population = 25, tournament = 8, scalarize } = options;
  return askTell(space, options, (rng) => {
    const members: Trial[] = [];
    const known = (options.initial ?? []).map((point) => space.encode(point));
    let compare = comparisonAmong(members, scalarize);
    let trials = 0;
    return {
      propose() {
        if (trials < population) {
          if (known.length === 0) return space.sample(rng);
          return mutateOne(space, known[Math.floor(rng.uniform() * known.length)] ?? [], rng);
        }
        let parent: Trial | undefined;
        for (let i = 0; i < tournament; i += 1) {
          const member = members[Math.floor(rng.uniform() * members.length)];
          if (member !== undefined && (parent === undefined || compare(member, parent) < 0)) parent = member;
        }
        return parent === undefined ? space.sample(rng) : mutateOne(space, parent.coordinates, rng);
      },
      observe(batch) {
        trials += batch.length;
        members.push(...batch);
        members.splice(0, Math.max(0, members.length - population));
        compare = comparisonAmong(members, scalarize);
      },
    };
  });
}
