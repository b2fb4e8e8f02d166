import type { Figures } from '../../../src/passes/search/goals.ts';
import type { Tried } from '../../../src/passes/search/run-search.ts';

/** A candidate that was run, with one choice: its number. Accuracy and bytes are what it is judged by unless `changes` say otherwise. */
export function triedOf(index: number, figures: Figures, changes: Partial<Tried> = {}): Tried {
  return {
    index,
    point: { x: index },
    status: 'succeeded',
    budget: 1,
    spec: {
      model: 'mdl_0123456789abcdef',
      recipe: { version: 1, steps: [{ pass: 'p', x: index }] },
      measure: 'light',
      seed: 0,
    },
    figures,
    objectives: [-(figures.accuracy ?? Number.NaN), figures.bytes ?? Number.NaN],
    violation: 0,
    ...changes,
  };
}
