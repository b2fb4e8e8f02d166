import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WindowCounter } from '../../src/plugins/window-counter.ts';

describe('WindowCounter', () => {
  it('allows the limit in a window, and as much again in the next', () => {
    const counter = new WindowCounter(2, 60_000);
    assert.deepEqual(counter.take('a', 0), { allowed: true, remaining: 1, resetSeconds: 60 });
    assert.deepEqual(counter.take('a', 30_000), { allowed: true, remaining: 0, resetSeconds: 30 });
    assert.deepEqual(counter.take('a', 59_500), { allowed: false, remaining: 0, resetSeconds: 1 });
    assert.equal(counter.take('a', 60_000).allowed, true);
  });

  it('counts each name for itself', () => {
    const counter = new WindowCounter(1, 1000);
    assert.equal(counter.take('a', 0).allowed, true);
    assert.equal(counter.take('b', 0).allowed, true);
    assert.equal(counter.take('a', 1).allowed, false);
  });

  it('forgets old names first when there are too many, and stays exact for the recent ones', () => {
    const counter = new WindowCounter(1, 1000);
    counter.take('recent', 5000);
    for (let n = 0; n < 9_000; n += 1) counter.take(`old-${n}`, 5000);
    for (let n = 0; n < 5_000; n += 1) counter.take(`new-${n}`, 5500);
    assert.equal(counter.take('new-4999', 5600).allowed, false);
  });
});
