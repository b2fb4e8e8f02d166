import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { kendallTau, spearman } from '../../src/search/rank-correlation.ts';
import { ranks } from '../../src/search/ranks.ts';

// scipy 1.17.1: stats.kendalltau, stats.spearmanr
const CASES = [
  {
    x: [12, 2, 1, 12, 2, 5, 7, 7, 3, 9],
    y: [1, 4, 7, 1, 0, 5, 6, 7, 2, 8],
    tau: 0.023531040266750586,
    rho: -0.05846181520451398,
  },
  { x: [0.1, 0.5, 0.3, 0.9, 0.7], y: [1, 3, 2, 4, 5], tau: 0.8, rho: 0.9 },
];

describe('rank correlation', () => {
  it('agrees with scipy, ties included', () => {
    for (const { x, y, tau, rho } of CASES) {
      assert.ok(Math.abs(kendallTau(x, y) - tau) < 1e-14);
      assert.ok(Math.abs(spearman(x, y) - rho) < 1e-14);
    }
  });

  it('tells nothing of values that are all alike', () => {
    assert.ok(Number.isNaN(kendallTau([1, 1, 1], [1, 2, 3])));
    assert.ok(Number.isNaN(spearman([1, 1, 1], [1, 2, 3])));
  });

  it('refuses sides of different lengths', () => {
    assert.throws(() => kendallTau([1], [1, 2]), RangeError);
    assert.throws(() => spearman([1], [1, 2]), RangeError);
  });

  it('ranks ties at their mean', () => {
    assert.deepEqual([...ranks([5, 1, 5, 3])], [3.5, 1, 3.5, 2]);
  });
});
