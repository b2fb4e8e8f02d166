import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { claimed, newRecord, waiting } from '../../src/jobs/record-changes.ts';
import { CONCLUDING_GRACE_MS, mustConclude, timeLeftMs } from '../../src/jobs/search-deadline.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { newJob } from '../helpers/jobs.ts';

const START = Date.parse('2026-01-01T00:00:00.000Z');
const SEARCH = { key: 'k', sha256: 'a'.repeat(64), waiting: [], asked: 1, done: 0 };

/** A search that was claimed at START. */
function search(deadlineSeconds: number): JobRecord {
  const made = { id: 'job_0123456789abcdef', at: new Date(START).toISOString(), idempotencyKey: null };
  const running = claimed(newRecord(newJob({ deadlineSeconds }), made), { owner: 'w', nowMs: START });
  const lying = running === undefined ? undefined : waiting(running, SEARCH);
  assert.ok(lying);
  return lying;
}

const after = (seconds: number): number => START + seconds * 1000;

describe('the time of a search', () => {
  it('keeps its last tenth for what was found', () => {
    const record = search(100);
    assert.equal(mustConclude(record, after(89.9)), false);
    assert.equal(mustConclude(record, after(90)), true);
    assert.equal(mustConclude(record, after(1000)), true);
  });

  it('keeps two minutes at most', () => {
    const record = search(10_000);
    assert.equal(mustConclude(record, after(10_000 - 121)), false);
    assert.equal(mustConclude(record, after(10_000 - 120)), true);
  });

  it('is no search’s before it has asked for a trial', () => {
    const { search: _none, ...record } = search(100);
    assert.equal(mustConclude(record, after(99)), false);
    assert.equal(mustConclude({ ...record, status: 'canceling' }, after(1)), false);
    assert.equal(timeLeftMs(record, after(99)), 1000);
    assert.equal(timeLeftMs(record, after(101)), -1000);
  });

  it('is the whole deadline for one that nobody has started', () => {
    const record = { ...search(100), deadlineAt: null };
    assert.equal(mustConclude(record, after(5000)), false);
    assert.equal(timeLeftMs(record, after(5000)), 100_000);
  });

  it('has a grace beyond the deadline, for concluding alone', () => {
    const record = search(100);
    assert.equal(timeLeftMs(record, after(80)), 20_000);
    assert.equal(timeLeftMs(record, after(95)), 5000 + CONCLUDING_GRACE_MS);
    assert.equal(timeLeftMs(record, after(1000)), CONCLUDING_GRACE_MS);
  });

  it('is the grace when a client asked for the end, however far the deadline', () => {
    const record: JobRecord = { ...search(100_000), status: 'canceling' };
    assert.equal(mustConclude(record, after(1)), true);
    assert.equal(timeLeftMs(record, after(1)), CONCLUDING_GRACE_MS);
  });
});
