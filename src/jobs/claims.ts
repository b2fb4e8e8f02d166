import { messageOf } from '../errors.ts';
import type { JobRecord } from '../schemas/job.ts';
import type { SearchState } from '../schemas/trial.ts';
import { ClaimedAttempt } from './attempt.ts';
import { FIRST_STORED_EVENT } from './event-log.ts';
import type { JobCore } from './job-core.ts';
import { contended } from './job-records.ts';
import type { VersionedRecord } from './job-records.ts';
import type { Attempt, JobClaims } from './job-service.ts';
import { cancelRequested, claimed, ended, isTerminal } from './record-changes.ts';
import { mustConclude, timeLeftMs } from './search-deadline.ts';
import { TrialJobs } from './trial-jobs.ts';

const MAX_TRIES = 50;

/** Takes queued jobs for workers. */
export class StoreJobClaims implements JobClaims {
  readonly #core: JobCore;

  constructor(core: JobCore) {
    this.#core = core;
  }

  async claim(jobId: string, workerId: string): Promise<Attempt | undefined> {
    const core = this.#core;
    const tenant = await core.tenantOf(jobId);
    if (tenant === undefined) {
      core.log.info(
        { event: 'job.unknown', jobId: jobId.slice(0, 100) },
        'the queue named a job that is over or unknown',
      );
      return undefined;
    }
    const owner = `${workerId}#${core.ids.token()}`;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const found = await core.records.read(tenant, jobId);
      if (found === undefined) return undefined;
      const { record } = found;
      // Nobody else knows the token: a write of an earlier round got through though its answer was lost.
      if (record.workerId === owner) return this.#start(found);
      if (isTerminal(record.status)) {
        await core.trySettle(record);
        return undefined;
      }
      const nowMs = core.clock.now();
      const taken = claimed(record, { owner, nowMs });
      if (taken === undefined) {
        if (!core.liveness.isSilent(record)) return undefined;
        await core.endSilentAttempt(found);
        continue;
      }
      if (timeLeftMs(record, nowMs) <= 0) {
        await failOverdue(core, found);
        continue;
      }
      const { isWaiting, ...counted } = await this.#trialsOf(record, nowMs);
      if (isWaiting) {
        if (counted.search?.done === record.search?.done) return undefined;
        const written = await core.records.replace(found, { ...record, ...counted });
        if (written !== undefined) core.watch.changed(jobId, 'record');
        // Looked at again: a trial that ended meanwhile told it while the id was with this consumer.
      } else if (await new TrialJobs(core).isUnwanted(record, nowMs)) {
        await dropUnwanted(core, found);
      } else {
        const written = await core.records.replace(found, { ...taken, ...counted });
        if (written !== undefined) return this.#start(written);
      }
    }
    throw contended(jobId);
  }

  /**
   * Whether a search waits for trials, and the state of those that it asked for by now. Whoever ends a trial puts its search into
   * the queue again.
   */
  async #trialsOf(
    record: JobRecord,
    nowMs: number,
  ): Promise<{ readonly isWaiting: boolean; readonly search?: SearchState }> {
    const { search, tenant } = record;
    if (search === undefined || search.waiting.length === 0 || mustConclude(record, nowMs)) return { isWaiting: false };
    const { waiting, asked } = search;
    const { over, done } = await new TrialJobs(this.#core).ended(tenant, waiting);
    return { isWaiting: over < waiting.length, search: { ...search, done: asked - waiting.length + done } };
  }

  async #start(claim: VersionedRecord): Promise<Attempt> {
    const { record } = claim;
    const nextEventId = record.attempt === 1 ? FIRST_STORED_EVENT : (await this.#core.events.lastId(record)) + 1;
    const attempt = new ClaimedAttempt(this.#core, claim, nextEventId);
    try {
      // Before the attempt does anything else: the id it takes is what an earlier attempt, still alive, stumbles over.
      const { attempt: number, step, progress, search } = record;
      if (search === undefined) await attempt.event('job.running', { status: 'running', attempt: number });
      else {
        const trials = search.asked === 0 ? '' : `, with ${search.asked} trials asked for so far`;
        const message = `the search goes on${trials}`;
        await attempt.event('job.progress', { step, progress, message });
      }
    } catch (error) {
      this.#core.log.warn(
        { event: 'job.event-failed', jobId: record.id, error: messageOf(error) },
        'the event that the job runs was not written',
      );
    }
    return attempt;
  }
}

/** A trial of a search that has ended. */
async function dropUnwanted(core: JobCore, found: VersionedRecord): Promise<void> {
  const over = cancelRequested(found.record, core.timestamp());
  const written = over === undefined ? undefined : await core.records.replace(found, over);
  if (written !== undefined) await core.trySettle(written.record);
}

/** A queued job whose time ran out in an earlier attempt. */
async function failOverdue(core: JobCore, found: VersionedRecord): Promise<void> {
  const { record } = found;
  const over = ended(record, 'expire', { at: core.timestamp(), error: overdue(record) });
  const written = over === undefined ? undefined : await core.records.replace(found, over);
  if (written !== undefined) await core.trySettle(written.record);
}

function overdue(record: JobRecord) {
  return {
    code: 'LIMIT_TIME',
    message:
      `the job was not done ${record.deadlineSeconds} s (deadlineSeconds) after its first start, in ` +
      `${record.attempt} attempts; raise deadlineSeconds or use fewer samples or epochs`,
    step: record.step,
    retryable: false,
  };
}
