import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { JOB_ACTIONS, transition } from '../../src/jobs/state-machine.ts';
import type { JobAction } from '../../src/jobs/state-machine.ts';
import { JOB_STATUSES, TERMINAL_STATUSES } from '../../src/schemas/job.ts';

// Written out from design.md and api.md, one line a pair; what is not listed must be refused.
const ALLOWED = [
  'queued     --claim--------->  running',
  'queued     --requestCancel->  canceled',
  'queued     --expire-------->  failed',
  'running    --requestCancel->  canceling',
  'running    --succeed------->  succeeded',
  'running    --fail---------->  failed',
  'running    --release------->  queued',
  'running    --wait---------->  queued',
  'running    --expire-------->  failed',
  'canceling  --claim--------->  canceling',
  'canceling  --requestCancel->  canceling',
  'canceling  --succeed------->  canceled',
  'canceling  --fail---------->  canceled',
  'canceling  --finishCancel-->  canceled',
  'canceling  --release------->  canceled',
  'canceling  --wait---------->  canceling',
  'canceling  --expire-------->  canceled',
];

describe('job state machine', () => {
  const expected = new Map(
    ALLOWED.map((line) => {
      const [from, action, to] = line.split(/[\s->]+/);
      return [`${from} ${action}`, to];
    }),
  );
  for (const status of JOB_STATUSES) {
    for (const action of JOB_ACTIONS) {
      const to = expected.get(`${status} ${action}`);
      it(`${status}: ${action} ${to === undefined ? 'is refused' : `leads to ${to}`}`, () => {
        assert.equal(transition(status, action), to);
      });
    }
  }

  it('reads every line of the table', () => {
    assert.equal(expected.size, ALLOWED.length);
    const known = new Set<string>(JOB_ACTIONS);
    for (const pair of expected.keys()) assert.ok(known.has(pair.split(' ')[1] ?? ''), pair);
  });

  it('leaves no terminal state', () => {
    for (const status of TERMINAL_STATUSES) {
      for (const action of JOB_ACTIONS satisfies readonly JobAction[]) {
        assert.equal(transition(status, action), undefined);
      }
    }
  });
});
