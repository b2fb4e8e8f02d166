import { SearchSpace, type JsonValue } from '../../src/search/space.ts';
import type { Candidate, Strategy, TrialResult } from '../../src/search/strategy.ts';

/** One dimension of every kind. */
export function mixedSpace(): SearchSpace {
  return new SearchSpace([
    { name: 'block', type: 'choice', values: ['basic', 'bottleneck', { kind: 'inverted', expand: 4 }] },
    { name: 'bits', type: 'choice', values: [8, 2, 4] },
    { name: 'depth', type: 'integer', min: 8, max: 20, step: 6 },
    { name: 'rate', type: 'real', min: 1e-4, max: 1, log: true },
  ]);
}

/** 3 x 4 x 2 points. */
export function smallSpace(): SearchSpace {
  return new SearchSpace([
    { name: 'a', type: 'choice', values: ['x', 'y', 'z'] },
    { name: 'b', type: 'integer', min: 0, max: 3 },
    { name: 'c', type: 'choice', values: [true, false] },
  ]);
}

export type Evaluate = (point: Readonly<Record<string, JsonValue>>) => Pick<TrialResult, 'objectives' | 'violation'>;

export interface Finished {
  readonly candidate: Candidate;
  readonly result: TrialResult;
}

/** Runs a strategy for `trials` trials in batches. */
export function run(strategy: Strategy, evaluate: Evaluate, trials: number, batch = 1): Finished[] {
  const finished: Finished[] = [];
  while (finished.length < trials) {
    const asked = strategy.ask(Math.min(batch, trials - finished.length));
    if (asked.length === 0) break;
    const results = asked.map((candidate) => ({
      candidate,
      result: { index: candidate.index, ...evaluate(candidate.point) },
    }));
    strategy.tell(results.map(({ result }) => result));
    finished.push(...results);
  }
  return finished;
}

/** Two objectives, a constraint on the depth, and trials that fail; for `mixedSpace`. */
export const evaluateMixed: Evaluate = ({ block, bits, depth, rate }) => {
  const loss = (block === 'basic' ? 0.2 : 0) + 1 / Number(bits) + (Math.log10(Number(rate)) + 2) ** 2;
  return {
    objectives: [bits === 2 ? NaN : loss, Number(depth) * Number(bits)],
    violation: Math.max(0, Number(depth) / 14 - 1),
  };
};
