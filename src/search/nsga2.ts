import type { SeededRandom } from '../data/seeded-random.ts';
import { askTell, type Trial } from './ask-tell.ts';
import { survivors, type Survivor } from './pareto.ts';
import { polynomialMutation, simulatedBinaryCrossover } from './real-variation.ts';
import type { Coordinates, SearchSpace } from './space.ts';
import type { Strategy, StrategyOptions } from './strategy.ts';
import { neighbour } from './variation.ts';

export interface Nsga2Options extends StrategyOptions {
  /** Members of a generation, and children until the next. 40 unless given. */
  readonly population?: number;
  /** Share of pairs that are crossed; the others pass their coordinates on. */
  readonly crossoverShare?: number;
  /** Probability that a dimension mutates; 1 / dimensions unless given. */
  readonly mutationShare?: number;
  /** Larger keeps children of crossed reals nearer to their parents. */
  readonly crossoverIndex?: number;
  /** Larger keeps mutated reals nearer to where they were. */
  readonly mutationIndex?: number;
}

type Member = Survivor<Trial>;

/**
 * NSGA-II: parents by binary tournament (front first, then room around), reals by simulated binary crossover and polynomial
 * mutation, other dimensions by uniform crossover and neighbours; parents and children compete for the next generation.
 * Constraints by Deb's rules. A generation may be asked in batches of any size.
 * @see Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEC 2002
 */
export function nsga2(space: SearchSpace, options: Nsga2Options): Strategy {
  const { population = 40 } = options;
  return askTell(space, options, (rng) => {
    const breed = breeder(space, options, rng);
    let parents: readonly Member[] = [];
    let children: Trial[] = [];
    let siblings: Coordinates[] = [];
    return {
      propose() {
        if (parents.length === 0) return space.sample(rng);
        if (siblings.length === 0) siblings = breed(parents);
        return siblings.pop() ?? space.sample(rng);
      },
      observe(batch) {
        children.push(...batch);
        if (children.length < population) return;
        parents = survivors([...parents.map(({ outcome }) => outcome), ...children], population);
        children = [];
        siblings = [];
      },
    };
  });
}

function breeder(
  space: SearchSpace,
  options: Nsga2Options,
  rng: SeededRandom,
): (parents: readonly Member[]) => Coordinates[] {
  const { crossoverShare = 0.9, crossoverIndex = 15, mutationIndex = 20 } = options;
  const { mutationShare = 1 / space.dimensions.length } = options;

  const select = (parents: readonly Member[]): Coordinates => {
    const draw = (): Member | undefined => parents[Math.floor(rng.uniform() * parents.length)];
    const [a, b] = [draw(), draw()];
    if (a === undefined || b === undefined) return space.sample(rng);
    const first = a.rank < b.rank || (a.rank === b.rank && a.crowding >= b.crowding);
    return (first ? a : b).outcome.coordinates;
  };

  const mutated = (from: Coordinates): Coordinates =>
    from.map((x, d) => {
      if (rng.uniform() >= mutationShare) return x;
      return space.count(d) === Infinity ? polynomialMutation(x, mutationIndex, rng) : neighbour(space, d, x, rng);
    });

  return (parents) => {
    const first = [...select(parents)];
    const second = [...select(parents)];
    if (rng.uniform() < crossoverShare) {
      for (let d = 0; d < first.length; d += 1) {
        if (rng.uniform() >= 0.5) continue;
        const pair = [first[d] ?? 0, second[d] ?? 0] as const;
        const swapped = [pair[1], pair[0]] as const;
        const crossed = space.count(d) === Infinity ? simulatedBinaryCrossover(pair, crossoverIndex, rng) : swapped;
        [first[d], second[d]] = crossed;
      }
    }
    return [mutated(second), mutated(first)];
  };
}
