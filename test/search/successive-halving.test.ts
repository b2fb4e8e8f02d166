import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { halvingRungs, successiveHalving } from '../../src/search/successive-halving.ts';

const indices = [...Array(27).keys()];

describe('halvingRungs', () => {
  it('has the brackets of the papers', () => {
    // Li et al., "Hyperband", table 1 (R = 81, eta = 3): 81 at 1, 27 at 3, 9 at 9, 3 at 27, 1 at 81.
    assert.deepEqual(
      halvingRungs(81, { minBudget: 1 / 81 }).map(({ budget, trials }) => [Math.round(budget * 81), trials]),
      [
        [1, 81],
        [3, 27],
        [9, 9],
        [27, 3],
        [81, 1],
      ],
    );
    assert.deepEqual(halvingRungs(10, { minBudget: 1 }), [{ budget: 1, trials: 10 }]);
    assert.deepEqual(
      halvingRungs(10, { minBudget: 0.2, eta: 2 }),
      [
        { budget: 0.25, trials: 10 },
        { budget: 0.5, trials: 5 },
        { budget: 1, trials: 2 },
      ],
      'the first budget is no less than asked',
    );
  });

  it('keeps one trial to the end, and refuses what is no bracket', () => {
    assert.equal(halvingRungs(2, { minBudget: 1 / 27 }).at(-1)?.trials, 1);
    for (const [trials, minBudget, eta] of [
      [0, 1, 3],
      [4, 0, 3],
      [4, 1.5, 3],
      [4, 0.5, 1],
    ] as const)
      assert.throws(() => halvingRungs(trials, { minBudget, eta }), RangeError);
  });
});

describe('successiveHalving', () => {
  it('promotes the best, each from the budget it had', () => {
    const halving = successiveHalving(indices, { minBudget: 1 / 9 });
    // The later the index the better, except that the last one fails and 25 violates a constraint.
    const objective = (index: number, budget: number) => (index === 26 ? NaN : 100 - index - budget);
    const seen: string[] = [];
    for (let tasks = halving.tasks(); tasks.length > 0; tasks = halving.tasks()) {
      seen.push(tasks.map(({ index }) => index).join(' ') + ` ${tasks[0]?.from} ${tasks[0]?.budget}`);
      // Told one by one and backwards: the order must not matter.
      for (const { index, budget } of [...tasks].reverse())
        halving.tell([{ index, objectives: [objective(index, budget)], violation: index === 25 ? 0.5 : 0 }]);
    }
    assert.deepEqual(seen, [
      `${indices.join(' ')} 0 ${1 / 9}`,
      `16 17 18 19 20 21 22 23 24 ${1 / 9} ${1 / 3}`,
      `22 23 24 ${1 / 3} 1`,
    ]);
    const results = halving.results();
    assert.equal(results.length, 27);
    assert.deepEqual(
      [0, 16, 24].map((index) => results[index]?.budget),
      [1 / 9, 1 / 3, 1],
    );
    assert.deepEqual(results[24]?.objectives, [75]);
  });

  it('asks for what is missing of a rung only', () => {
    const halving = successiveHalving([3, 5, 8], { minBudget: 1 / 3 });
    halving.tell([{ index: 5, objectives: [1, 2], violation: 0 }]);
    assert.deepEqual(
      halving.tasks().map(({ index }) => index),
      [3, 8],
    );
    assert.throws(() => halving.tell([{ index: 5, objectives: [1, 2], violation: 0 }]), /trial 5 is not waited for/);
    assert.throws(() => halving.tell([{ index: 4, objectives: [1, 2], violation: 0 }]), /trial 4 is not waited for/);
  });

  it('goes by front with several objectives, by the scalar where there is one', () => {
    const results = [
      [1, 9],
      [5, 5],
      [9, 1],
      [6, 6],
    ].map((objectives, index) => ({ index, objectives, violation: 0 }));
    const next = (scalarize?: (objectives: readonly number[]) => number) => {
      const halving = successiveHalving([0, 1, 2, 3], { minBudget: 0.5, eta: 2, ...(scalarize && { scalarize }) });
      halving.tell(results);
      return halving.tasks().map(({ index }) => index);
    };
    assert.deepEqual(next(), [0, 2]);
    assert.deepEqual(
      next(([a = 0, b = 0]) => Math.max(a, b)),
      [1, 3],
    );
  });

  it('ends when all have failed', () => {
    const halving = successiveHalving([0, 1, 2], { minBudget: 1 / 3 });
    halving.tell([0, 1, 2].map((index) => ({ index, objectives: [NaN], violation: 0 })));
    assert.deepEqual(halving.tasks(), []);
  });
});
