import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { evolution } from '../../src/search/evolution.ts';
import { SearchSpace, type Dimension } from '../../src/search/space.ts';

const under = (value: string) => ({ when: { dimension: 'family', value } });
/** Two families: one of 2 x 3 members, one of 4. */
const DIMENSIONS: readonly Dimension[] = [
  { name: 'family', type: 'choice', values: ['a', 'b'] },
  { name: 'a.depth', type: 'choice', values: [8, 14], ...under('a') },
  { name: 'a.width', type: 'integer', min: 1, max: 3, ...under('a') },
  { name: 'b.kernel', type: 'choice', values: [1, 3, 5, 7], ...under('b') },
];

describe('dimensions that count for one choice only', () => {
  it('make as many points as differ in what counts', () => {
    assert.equal(new SearchSpace(DIMENSIONS).size, 2 * 3 + 4);
    assert.equal(new SearchSpace([...DIMENSIONS, { name: 'rate', type: 'choice', values: [1, 2] }]).size, 20);
    assert.equal(new SearchSpace([...DIMENSIONS, { name: 'rate', type: 'real', min: 0, max: 1 }]).size, Infinity);
  });

  it('are never searched for what does not count: each member is asked once, then there are no more', () => {
    const space = new SearchSpace(DIMENSIONS);
    const strategy = evolution(space, { seed: 3 });
    const asked: string[] = [];
    for (let batch = strategy.ask(3); batch.length > 0; batch = strategy.ask(3)) {
      for (const { index, point } of batch) {
        asked.push(
          point['family'] === 'a'
            ? JSON.stringify(['a', point['a.depth'], point['a.width']])
            : JSON.stringify(['b', point['b.kernel']]),
        );
        strategy.tell([{ index, objectives: [index], violation: 0 }]);
      }
    }
    assert.equal(asked.length, 10);
    assert.equal(new Set(asked).size, 10);
  });

  it('are all found where guesses hit what was asked before', () => {
    const count = (name: string): Dimension => ({
      name: `${name}.n`,
      type: 'integer',
      min: 1,
      max: 300,
      ...under(name),
    });
    const family: Dimension = { name: 'family', type: 'choice', values: ['a', 'b'] };
    const strategy = evolution(new SearchSpace([family, count('a'), count('b')]), { seed: 1 });
    const asked = strategy
      .ask(1000)
      .map(({ point }) => JSON.stringify([point['family'], point[point['family'] === 'a' ? 'a.n' : 'b.n']]));
    assert.equal(asked.length, 600);
    assert.equal(new Set(asked).size, 600);
  });

  it('are refused where the choice is not there', () => {
    const wrong = (when: { dimension: string; value: string }) => () =>
      new SearchSpace([...DIMENSIONS, { name: 'x', type: 'choice', values: [1], when }]);
    assert.throws(wrong({ dimension: 'family', value: 'c' }), { code: 'RECIPE_INVALID', message: /"x" depends on/ });
    assert.throws(wrong({ dimension: 'none', value: 'a' }), { code: 'RECIPE_INVALID' });
    assert.throws(wrong({ dimension: 'a.depth', value: '8' }), { code: 'RECIPE_INVALID' });
  });
});
