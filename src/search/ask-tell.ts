import { SeededRandom } from '../data/seeded-random.ts';
import type { Coordinates, SearchSpace } from './space.ts';
import type { Candidate, Strategy, StrategyOptions, TrialResult } from './strategy.ts';
import { mutateOne } from './variation.ts';

/** A finished trial. One that failed has objectives and violation of Infinity. */
export interface Trial extends TrialResult {
  readonly coordinates: Coordinates;
}

/** The part of a strategy that is its own. */
export interface Proposer {
  /** A point worth trying; may be one that was tried before. Asked again when it was. */
  propose(): Coordinates;
  /** The trials of a batch, by rising index. */
  observe(trials: readonly Trial[]): void;
}

/** Proposals, then mutations of one, before the next free point is taken. */
const ATTEMPTS = 50;

/** The part that all strategies share: numbering, no point twice, results in order whenever they come. */
export function askTell(
  space: SearchSpace,
  { seed, initial = [], budget }: StrategyOptions,
  proposerOf: (rng: SeededRandom) => Proposer,
): Strategy {
  const rng = new SeededRandom(seed);
  const proposer = proposerOf(rng);
  const seen = new Set<string>();
  const within = (coordinates: Coordinates): Coordinates => budget?.walkDown(coordinates) ?? coordinates;
  const first = initial.map((point) => within(space.encode(point)));
  let pending = new Map<number, Coordinates>();
  let told = new Map<number, Trial>();
  let objectiveCount: number | undefined;
  let next = 0;

  const isNew = (coordinates: Coordinates): boolean => !seen.has(space.identity(coordinates));

  const choose = (): Coordinates | undefined => {
    for (let given = first.shift(); given !== undefined; given = first.shift()) if (isNew(given)) return given;
    if (seen.size >= space.size) return undefined;
    let chosen = within(proposer.propose());
    for (let i = 0; i < ATTEMPTS && !isNew(chosen); i += 1) chosen = within(proposer.propose());
    for (let i = 0; i < ATTEMPTS && !isNew(chosen); i += 1) chosen = within(mutateOne(space, chosen, rng));
    return isNew(chosen) ? chosen : nextFree(space, rng, isNew);
  };

  const draw = (n: number): Candidate[] => {
    const candidates: Candidate[] = [];
    while (candidates.length < n) {
      const coordinates = choose();
      if (coordinates === undefined) break;
      seen.add(space.identity(coordinates));
      pending.set(next, coordinates);
      candidates.push({ index: next, point: space.decode(coordinates) });
      next += 1;
    }
    return candidates;
  };

  const missing = (): number[] => [...pending.keys()].filter((index) => !told.has(index));

  return {
    ask(n) {
      if (missing().length > 0) throw new RangeError(`results of the trials ${missing().join(', ')} were not told`);
      pending = new Map();
      told = new Map();
      return draw(n);
    },
    more(n) {
      if (told.size > 0) throw new RangeError(`results of the trials ${[...told.keys()].join(', ')} were told`);
      return draw(n);
    },
    tell(results) {
      for (const { index, objectives, violation } of results) {
        const coordinates = pending.get(index);
        if (coordinates === undefined || told.has(index))
          throw new RangeError(
            `trial ${index} ${coordinates === undefined ? 'was not asked' : 'has a result already'}`,
          );
        objectiveCount ??= objectives.length;
        if (objectives.length !== objectiveCount || objectiveCount === 0)
          throw new RangeError(
            `trial ${index}: expected ${objectiveCount || 'some'} objectives, got ${objectives.length}`,
          );
        if (violation < 0) throw new RangeError(`trial ${index}: violation ${violation} is negative`);
        const failed = !objectives.every(Number.isFinite) || !Number.isFinite(violation);
        told.set(index, {
          index,
          coordinates,
          objectives: failed ? objectives.map(() => Infinity) : objectives,
          violation: failed ? Infinity : violation,
        });
      }
      if (pending.size > 0 && told.size === pending.size)
        proposer.observe([...told.values()].sort((a, b) => a.index - b.index));
    },
  };
}

/** From a random point on, in counting order, the first that is new. The space has one: few steps, since few are taken. */
function nextFree(space: SearchSpace, rng: SeededRandom, isNew: (c: Coordinates) => boolean): Coordinates {
  let coordinates = space.sample(rng);
  // What others depend on turns last: else those would count at one of its values only.
  const order = [...coordinates.keys()].sort((a, b) => Number(space.isCondition(a)) - Number(space.isCondition(b)));
  while (!isNew(coordinates)) {
    const carried = [...coordinates];
    for (const d of order) {
      if (!space.isActive(d, carried)) continue;
      const up = (carried[d] ?? 0) + 1;
      if (space.count(d) === Infinity) {
        carried[d] = rng.uniform();
        break;
      }
      carried[d] = up % space.count(d);
      if (up < space.count(d)) break;
    }
    coordinates = carried;
  }
  return coordinates;
}
