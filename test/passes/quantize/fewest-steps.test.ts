import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fewestSteps, mostAttempts } from '../../../src/passes/quantize/fewest-steps.ts';

describe('fewestSteps', () => {
  it('finds the fewest steps that will do, whatever they are, in few attempts', async () => {
    for (const first of [0, 1])
      for (let last = 1; last <= 40; last += 1)
        for (let enough = first; enough <= last + 1; enough += 1) {
          const tried: number[] = [];
          const found = await fewestSteps({ first, last }, (steps) => {
            tried.push(steps);
            return Promise.resolve({ met: steps >= enough });
          });
          assert.equal(found, enough > last ? undefined : enough);
          assert.equal(new Set(tried).size, tried.length);
          assert.ok(tried.length <= mostAttempts(last) && tried.every((steps) => steps >= first && steps <= last));
        }
  });
});
