import type { JobStatus } from '../schemas/job.ts';

/**
 * What can happen to a job: `claim` a worker takes it, `requestCancel` a client wants it over, `succeed`, `fail` and
 * `finishCancel` the attempt reports, `release` the attempt hands the job back or is found dead, `expire` it waited or
 * crashed too often.
 */
export const JOB_ACTIONS = [
  'claim',
  'requestCancel',
  'succeed',
  'fail',
  'finishCancel',
  'release',
  'wait',
  'expire',
] as const;
export type JobAction = (typeof JOB_ACTIONS)[number];

/**
 * The whole state machine. No entry: the action is refused, whoever asked has lost the job. Once a client has asked for
 * the end, the job ends as canceled, also when its attempt comes in with a result or a failure afterwards. `wait` the attempt
 * ends until the trials it asked for have ended.
 */
const TRANSITIONS: Readonly<Record<JobStatus, Readonly<Partial<Record<JobAction, JobStatus>>>>> = {
  queued: { claim: 'running', requestCancel: 'canceled', expire: 'failed' },
  running: {
    requestCancel: 'canceling',
    succeed: 'succeeded',
    fail: 'failed',
    release: 'queued',
    wait: 'queued',
    expire: 'failed',
  },
  canceling: {
    // A search that was asked to end: one more attempt hands out what was found.
    claim: 'canceling',
    requestCancel: 'canceling',
    succeed: 'canceled',
    fail: 'canceled',
    finishCancel: 'canceled',
    release: 'canceled',
    wait: 'canceling',
    expire: 'canceled',
  },
  succeeded: {},
  failed: {},
  canceled: {},
};

/** The status after the action, or undefined when the action cannot happen in this status. */
export function transition(status: JobStatus, action: JobAction): JobStatus | undefined {
  return TRANSITIONS[status][action];
}
