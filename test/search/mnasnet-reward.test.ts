import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HARD_REWARD, mnasnetReward } from '../../src/search/mnasnet-reward.ts';

describe('mnasnetReward', () => {
  it('is soft on both sides of the target', () => {
    // 0.75 (90/75)^-0.07 and 0.75 (60/75)^-0.07 by Python.
    assert.ok(Math.abs(mnasnetReward(0.75, 90, 75) - 0.7404889) < 5e-8);
    assert.ok(Math.abs(mnasnetReward(0.75, 60, 75) - 0.761807) < 5e-8);
    // The paper's reason for -0.07: double latency is worth 5 % accuracy.
    assert.ok(Math.abs(mnasnetReward(0.75 * 1.05, 150, 75) / 0.75 - 1) < 1e-3);
  });

  it('hard: nothing for being faster, accuracy falls with latency above', () => {
    assert.equal(mnasnetReward(0.75, 60, 75, HARD_REWARD), 0.75);
    assert.equal(mnasnetReward(0.75, 75, 75, HARD_REWARD), 0.75);
    assert.ok(Math.abs(mnasnetReward(0.75, 90, 75, HARD_REWARD) - 0.625) < 1e-12);
  });
});
