import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MAX_ATTEMPTS, retryAfterMs, retryDelayMs } from '../../src/webhooks/schedule.ts';

const HOUR = 3600 * 1000;

function totalMs(rng: () => number): { readonly attempts: number; readonly totalMs: number } {
  let total = 0;
  let made = 1; // the first attempt is due at once
  for (;;) {
    const delay = retryDelayMs(made, rng);
    if (delay === undefined) return { attempts: made, totalMs: total };
    total += delay;
    made += 1;
  }
}

describe('retry schedule', () => {
  it('makes ten attempts in 75 to 76 hours', () => {
    const { attempts, totalMs: total } = totalMs(() => 0.5);
    assert.equal(attempts, 10);
    assert.equal(MAX_ATTEMPTS, 10);
    assert.ok(total >= 75 * HOUR && total <= 76 * HOUR, `${total / HOUR} h`);
  });

  it('spreads each delay by 20 % to either side', () => {
    assert.deepEqual(
      [retryDelayMs(1, () => 0), retryDelayMs(1, () => 0.5), retryDelayMs(1, () => 1)],
      [4000, 5000, 6000],
    );
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (random) => {
        const { totalMs: total } = totalMs(() => random);
        assert.ok(total >= 0.8 * 75 * HOUR && total <= 1.2 * 76 * HOUR);
      }),
    );
  });

  it('reads Retry-After as seconds or a date, up to a day', () => {
    const now = Date.parse('2026-11-23T12:00:00Z');
    assert.equal(retryAfterMs('120', now), 120_000);
    assert.equal(retryAfterMs('Mon, 23 Nov 2026 12:01:00 GMT', now), 60_000);
    assert.equal(retryAfterMs('1000000000', now), 24 * HOUR);
    assert.equal(retryAfterMs('9'.repeat(400), now), 24 * HOUR);
    assert.equal(retryAfterMs('Mon, 23 Nov 2025 12:01:00 GMT', now), 0);
    for (const bad of [undefined, '', '-5', '1.5e3x', 'soon']) assert.equal(retryAfterMs(bad, now), 0, bad);
  });
});
