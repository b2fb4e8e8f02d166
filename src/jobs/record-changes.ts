import type { JobError, JobRecord, JobStatus } from '../schemas/job.ts';
import { TERMINAL_STATUSES } from '../schemas/job.ts';
import type { SearchState } from '../schemas/trial.ts';
import type { NewJob } from './job-service.ts';
import { transition } from './state-machine.ts';
import type { JobAction } from './state-machine.ts';

/** Crashes of the child that end a job. */
const MAX_CRASHES = 2;
/** Attempts whose worker fell silent that end a job: high, since a deploy or a reclaimed machine is not the job's fault. */
const MAX_LOST_ATTEMPTS = 10;

// Pure changes of a record. Each answers undefined when the state machine refuses.

export function newRecord(
  job: NewJob & Pick<JobRecord, 'trial'>,
  made: { readonly id: string; readonly at: string; readonly idempotencyKey: string | null },
): JobRecord {
  return {
    recordVersion: 1,
    id: made.id,
    status: 'queued',
    attempt: 0,
    step: null,
    progress: 0,
    ...job,
    createdAt: made.at,
    startedAt: null,
    finishedAt: null,
    error: null,
    verdict: null,
    summary: null,
    crashes: 0,
    lostAttempts: 0,
    heartbeatAt: null,
    workerId: null,
    checkpoint: null,
    costTable: null,
    deadlineAt: null,
    idempotencyKey: made.idempotencyKey,
  };
}

export function claimed(record: JobRecord, by: { readonly owner: string; readonly nowMs: number }) {
  const status = transition(record.status, 'claim');
  if (status === undefined || (status === 'canceling' && !isConcluding(record))) return undefined;
  const now = new Date(by.nowMs).toISOString();
  return {
    ...record,
    status,
    attempt: record.attempt + 1,
    startedAt: record.startedAt ?? now,
    deadlineAt: record.deadlineAt ?? new Date(by.nowMs + record.deadlineSeconds * 1000).toISOString(),
    heartbeatAt: now,
    workerId: by.owner,
  } satisfies JobRecord;
}

export interface Outcome {
  readonly at: string;
  readonly error?: JobError;
  readonly result?: Pick<JobRecord, 'summary' | 'verdict'>;
}

/** To a terminal state; the outcome's error or result is taken over only if the state has one. */
export function ended(record: JobRecord, action: JobAction, outcome: Outcome): JobRecord | undefined {
  const status = transition(record.status, action);
  if (status === undefined || !isTerminal(status)) return undefined;
  const over: JobRecord = { ...record, status, finishedAt: outcome.at, heartbeatAt: null };
  if (status === 'failed') return { ...over, error: outcome.error ?? null };
  if (status === 'succeeded') return { ...over, ...outcome.result, progress: 1, step: null };
  // What a search had found when its end was asked for is a result.
  return record.search === undefined || action !== 'succeed' ? over : { ...over, ...outcome.result };
}

/** Back to queued; to failed when the breaker opens; to canceled when the end was asked for. */
export function released(
  record: JobRecord,
  reason: { readonly why: 'handed-back' | 'crashed' | 'lost'; readonly message: string; readonly at: string },
): JobRecord | undefined {
  const status = transition(record.status, 'release');
  if (status === undefined) return undefined;
  const concludes = status === 'canceled' && record.search !== undefined;
  if (isTerminal(status) && !concludes) return ended(record, 'release', { at: reason.at });
  const counted: JobRecord = {
    ...record,
    crashes: record.crashes + (reason.why === 'crashed' ? 1 : 0),
    lostAttempts: record.lostAttempts + (reason.why === 'lost' ? 1 : 0),
  };
  const loop = crashLoop(counted, reason.message);
  if (loop !== undefined) return ended(counted, 'fail', { at: reason.at, error: loop });
  return { ...counted, status: concludes ? 'canceling' : status, heartbeatAt: null, workerId: null };
}

/** The attempt ends until the trials in `search.waiting` have ended. Its search goes on, or concludes when the end was asked for. */
export function waiting(record: JobRecord, search: SearchState): JobRecord | undefined {
  const status = transition(record.status, 'wait');
  return status === undefined ? undefined : { ...record, status, search, heartbeatAt: null, workerId: null };
}

/** The end asked for by a client. A search that has something to hand out comes to it by one more attempt. */
export function cancelRequested(record: JobRecord, at: string): JobRecord | undefined {
  const status = transition(record.status, 'requestCancel');
  if (status === undefined || status === record.status) return undefined;
  if (record.status === 'queued' && record.search !== undefined) return { ...record, status: 'canceling' };
  return ended(record, 'requestCancel', { at }) ?? { ...record, status };
}

/** A search whose end was asked for, and that no attempt works on. */
export function isConcluding(record: JobRecord): boolean {
  return record.status === 'canceling' && record.search !== undefined && record.workerId === null;
}

function crashLoop(record: JobRecord, message: string): JobError | undefined {
  const open = record.crashes >= MAX_CRASHES || record.lostAttempts >= MAX_LOST_ATTEMPTS;
  if (!open) return undefined;
  const what =
    record.crashes >= MAX_CRASHES
      ? `the job's process crashed ${record.crashes} times`
      : `${record.lostAttempts} workers died while they ran the job`;
  return {
    code: 'CRASH_LOOP',
    message: `${what}, so it is not tried again; last: ${message}`,
    step: record.step,
    retryable: false,
  };
}

/** Artifacts and report are there: it succeeded, or a search had found something when it was canceled. */
export function hasResult(record: Pick<JobRecord, 'status' | 'summary'>): boolean {
  return record.status === 'succeeded' || (record.status === 'canceled' && record.summary !== null);
}

export function isTerminal(status: JobStatus): status is 'succeeded' | 'failed' | 'canceled' {
  return TERMINAL_STATUSES.has(status);
}
