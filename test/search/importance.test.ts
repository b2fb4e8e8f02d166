import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importance } from '../../src/search/importance.ts';
import { randomSearch } from '../../src/search/random.ts';
import { SearchSpace, type Point } from '../../src/search/space.ts';

describe('importance', () => {
  it('is epsilon squared of one-way analysis of variance', () => {
    const space = new SearchSpace([{ name: 'g', type: 'choice', values: ['a', 'b', 'c'] }]);
    const groups = { a: [1, 2, 3], b: [2, 4, 6], c: [5, 6, 7, 8] };
    const trials = Object.entries(groups).flatMap(([g, values]) =>
      values.map((value) => ({ point: { g }, objectives: [0, value], violation: 0 })),
    );
    const [found] = importance(space, [...trials, { point: { g: 'a' }, objectives: [0, NaN], violation: 0 }], 1);
    // NumPy: eta squared 0.70238 of 10 values in 3 groups, 1 - (1 - eta^2) 9/7.
    assert.ok(Math.abs((found?.share ?? 0) - 0.6173469387755103) < 1e-12);
    assert.deepEqual(found?.levels, [
      { value: 'a', trials: 3, mean: 2 },
      { value: 'b', trials: 3, mean: 4 },
      { value: 'c', trials: 4, mean: 6.5 },
    ]);
  });

  it('ranks dimensions by what they decide, and gives nothing to those that decide nothing', () => {
    const space = new SearchSpace([
      { name: 'nothing', type: 'choice', values: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] },
      { name: 'some', type: 'real', min: 0, max: 1 },
      { name: 'most', type: 'integer', min: 0, max: 100 },
    ]);
    // Variances 4 x 1/12 and 9 x (101^2 - 1) / 12 / 100^2: shares 0.30 and 0.70, less what lies within a stretch of values (1/36).
    const value = ({ some, most }: Point) => 2 * Number(some) + (3 * Number(most)) / 100;
    const trials = randomSearch(space, { seed: 8 })
      .ask(600)
      .map(({ point }) => ({ point, objectives: [value(point)], violation: 0 }));
    const found = importance(space, trials);
    assert.deepEqual(
      found.map(({ name }) => name),
      ['most', 'some', 'nothing'],
    );
    for (const [i, share] of [0.68, 0.29, 0].entries())
      assert.ok(Math.abs((found[i]?.share ?? NaN) - share) < 0.06, JSON.stringify(found));
    const levels = found[0]?.levels ?? [];
    assert.equal(levels.length, 6);
    assert.ok(levels.every(({ trials: count }) => count > 80 && count < 120));
    assert.ok(levels.every(({ mean }, i) => i === 0 || mean > (levels[i - 1]?.mean ?? 0)));
  });

  it('says nothing where there is nothing to explain', () => {
    const space = new SearchSpace([{ name: 'g', type: 'choice', values: ['a', 'b'] }]);
    const trial = (g: string, value: number) => ({ point: { g }, objectives: [value], violation: 0 });
    assert.deepEqual(importance(space, [trial('a', 1), trial('b', 2)]), []);
    assert.deepEqual(importance(space, [trial('a', 1), trial('b', 1), trial('b', 1)]), []);
  });
});
