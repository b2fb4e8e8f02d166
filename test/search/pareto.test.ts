import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { crowdingDistance, dominates, nonDominatedSort, paretoSet } from '../../src/search/pareto.ts';

const outcome = (objectives: readonly number[], violation = 0) => ({ objectives, violation });
const outcomes = fc.array(
  fc.record({
    objectives: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 3, maxLength: 3 }),
    violation: fc.constantFrom(0, 0, 1, 2),
  }),
  { maxLength: 40 },
);

describe('dominates', () => {
  it('asks for no worse in any, better in one', () => {
    assert.equal(dominates(outcome([1, 2]), outcome([1, 3])), true);
    assert.equal(dominates(outcome([1, 2]), outcome([1, 2])), false);
    assert.equal(dominates(outcome([1, 3]), outcome([2, 2])), false);
  });

  it('puts feasible before infeasible, then less violation, whatever the objectives', () => {
    assert.equal(dominates(outcome([9, 9]), outcome([1, 1], 0.1)), true);
    assert.equal(dominates(outcome([9, 9], 0.1), outcome([1, 1], 0.2)), true);
    assert.equal(dominates(outcome([1, 1], 0.1), outcome([9, 9], 0.1)), false);
    assert.equal(dominates(outcome([1, 1], 1), outcome([Infinity, Infinity], Infinity)), true);
  });
});

describe('nonDominatedSort', () => {
  it('peels fronts', () => {
    const sorted = nonDominatedSort(
      [
        [3, 3],
        [1, 4],
        [4, 1],
        [2, 2],
        [4, 4],
        [2, 2],
      ].map((objectives) => outcome(objectives)),
    );
    assert.deepEqual(sorted, [[1, 2, 3, 5], [0], [4]]);
  });

  it('has every index once, in the front its definition says', () => {
    fc.assert(
      fc.property(outcomes, (all) => {
        const fronts = nonDominatedSort(all);
        assert.deepEqual(
          fronts.flat().sort((a, b) => a - b),
          [...all.keys()],
        );
        let left = [...all.keys()];
        for (const front of fronts) {
          const expected = left.filter((i) => !left.some((j) => dominates(all[j]!, all[i]!)));
          assert.deepEqual(front, expected);
          left = left.filter((i) => !front.includes(i));
        }
      }),
    );
  });
});

describe('crowdingDistance', () => {
  it('sums shares of the range between neighbours; ends are infinite', () => {
    // By hand: for (1, 3): (2 - 0) / 4 + (4 - 1) / 4; for (2, 1): (4 - 1) / 4 + (3 - 0) / 4.
    const distance = crowdingDistance([
      [0, 4],
      [1, 3],
      [4, 0],
      [2, 1],
    ]);
    assert.deepEqual([...distance], [Infinity, 1.25, Infinity, 1.5]);
  });

  it('lets an objective that is the same for all tell nothing but the ends', () => {
    assert.deepEqual([...crowdingDistance([[1], [1], [1]])], [Infinity, 0, Infinity]);
    assert.deepEqual([...crowdingDistance([])], []);
  });
});

describe('paretoSet', () => {
  it('is the first front of the feasible ones', () => {
    fc.assert(
      fc.property(outcomes, (all) => {
        const feasible = all.some(({ violation }) => violation === 0);
        assert.deepEqual(paretoSet(all), feasible ? nonDominatedSort(all)[0] : []);
      }),
    );
  });

  it('has no failed trial', () => {
    assert.deepEqual(paretoSet([outcome([NaN, 0]), outcome([1, Infinity])]), []);
  });
});
