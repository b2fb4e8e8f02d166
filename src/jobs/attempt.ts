import { createHash } from 'node:crypto';
import { CompressionError, messageOf } from '../errors.ts';
import { Manifest } from '../schemas/job.ts';
import type { ArtifactEntry, JobError, JobEventType, JobRecord, JobSummary } from '../schemas/job.ts';
import { NO_TRIALS, type SearchState, type TrialLog } from '../schemas/trial.ts';
import type { JobCore } from './job-core.ts';
import { attemptPrefix, manifestKey } from './job-keys.ts';
import { contended, encodeJson } from './job-records.ts';
import type { VersionedRecord } from './job-records.ts';
import type { Attempt, JobEvent, Progress } from './job-service.ts';
import { ended, hasResult, isTerminal, released, waiting } from './record-changes.ts';
import { mustConclude } from './search-deadline.ts';
import { TrialJobs } from './trial-jobs.ts';

const MAX_TRIES = 50;

/**
 * A claimed attempt. It knows the newest version of the record it has seen, so a heartbeat is one conditional write;
 * when that meets a conflict, the record is read again and tells whether the attempt still owns the job. Calls are
 * carried out one after the other.
 */
export class ClaimedAttempt implements Attempt {
  readonly number: number;
  readonly prefix: string;
  readonly #core: JobCore;
  readonly #owner: string;
  #current: VersionedRecord;
  #nextEventId: number;
  #over = false;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(core: JobCore, claimed: VersionedRecord, nextEventId: number) {
    const { record } = claimed;
    this.#core = core;
    this.#current = claimed;
    this.#owner = record.workerId ?? '';
    this.#nextEventId = nextEventId;
    this.number = record.attempt;
    this.prefix = attemptPrefix(record.tenant, record.id, record.attempt);
  }

  get record(): JobRecord {
    return this.#current.record;
  }

  heartbeat(progress: Progress): Promise<'continue' | 'cancel' | 'lost'> {
    return this.#inTurn(async () => {
      const record = await this.#change((current) => ({
        ...current,
        ...progress,
        heartbeatAt: this.#core.timestamp(),
      }));
      // No notification: workers answer a changed record with a heartbeat. Progress is told by events.
      if (record === undefined) return 'lost';
      return record.status === 'canceling' ? 'cancel' : 'continue';
    });
  }

  event(type: JobEventType, data: Readonly<Record<string, unknown>>, reached?: Progress): Promise<void> {
    return this.#inTurn(async () => {
      for (let tries = 0; tries < MAX_TRIES && !this.#over; tries++) {
        const event: JobEvent = { id: this.#nextEventId, type, at: this.#core.timestamp(), data };
        if (await this.#core.events.tryAppend(this.record, event)) {
          this.#nextEventId += 1;
          this.#core.emit({ ...this.record, ...reached }, event);
          return;
        }
        // Somebody wrote that id: another attempt, which has the job then, or this one's write whose answer was lost.
        if (!(await this.#refresh())) return;
        this.#nextEventId = (await this.#core.events.lastId(this.record)) + 1;
      }
    });
  }

  checkpoint(
    checkpoint: { key: string; steps: number; sha256: string },
    holdsResult = false,
  ): Promise<'continue' | 'lost'> {
    return this.#inTurn(async () => {
      const search = holdsResult && this.record.search === undefined ? await this.#store(NO_TRIALS) : undefined;
      const record = await this.#change((current) => ({ ...current, ...(search && { search }), checkpoint }));
      return record === undefined ? 'lost' : 'continue';
    });
  }

  /** @returns the state of a search that waits for nothing */
  async #store(log: TrialLog): Promise<SearchState> {
    const body = encodeJson(log);
    const key = `${this.prefix}trials.json`;
    await this.#core.store.put(key, body);
    return {
      key,
      sha256: createHash('sha256').update(body).digest('hex'),
      waiting: [],
      asked: log.entries.length,
      done: log.entries.filter(({ result }) => result !== undefined).length,
    };
  }

  pinCostTable(hash: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#change((current) => ({ ...current, costTable: current.costTable ?? hash }));
    });
  }

  succeed(result: {
    artifacts: readonly ArtifactEntry[];
    summary: JobSummary;
    verdict: 'met' | 'missed' | 'none';
  }): Promise<'published' | 'lost'> {
    return this.#inTurn(async () => {
      if (this.#over) return 'lost';
      const { tenant, id } = this.record;
      const at = this.#core.timestamp();
      const { summary, verdict } = result;
      const manifest = Manifest.parse({
        version: 1,
        job: id,
        attempt: this.number,
        createdAt: at,
        artifacts: result.artifacts,
        summary,
        verdict,
      });
      // The manifest lies under the attempt's own prefix and counts only for the record's attempt, so a late attempt's
      // manifest is just a file. A conflict is our own write whose answer was lost.
      await this.#core.store.put(manifestKey(tenant, id, this.number), encodeJson(manifest), { ifAbsent: true });
      const status = await this.#end((current) => ended(current, 'succeed', { at, result: { summary, verdict } }));
      return status !== undefined && hasResult(this.record) ? 'published' : 'lost';
    });
  }

  fail(error: JobError): Promise<'published' | 'lost'> {
    return this.#inTurn(async () => {
      const at = this.#core.timestamp();
      const status = await this.#end((current) => ended(current, 'fail', { at, error }));
      return status === undefined ? 'lost' : 'published';
    });
  }

  canceled(): Promise<'published' | 'lost'> {
    return this.#inTurn(async () => {
      const at = this.#core.timestamp();
      const status = await this.#end((current) => {
        if (current.status === 'running') {
          throw new CompressionError('INTERNAL', `job ${current.id} is running and nobody asked for its end`);
        }
        return ended(current, 'finishCancel', { at });
      });
      return status === undefined ? 'lost' : 'published';
    });
  }

  async trials(): Promise<TrialLog | undefined> {
    const trials = new TrialJobs(this.#core);
    const log = await trials.read(this.record);
    return log === undefined ? undefined : trials.collect(this.record.tenant, log);
  }

  async waitForTrials(log: TrialLog, reached?: Progress): Promise<'waiting' | 'ready' | 'lost'> {
    const trials = new TrialJobs(this.#core);
    const concluding = this.record.status === 'canceling' || mustConclude(this.record, this.#core.clock.now());
    // Asked for outside of the turn: heartbeats go on meanwhile.
    const asked = concluding ? log : await trials.ask(this.record, log);
    const went = await this.#inTurn(async () => {
      const stored = await this.#store(asked);
      const open = asked.entries.flatMap(({ job, result }) => (job === undefined || result !== undefined ? [] : [job]));
      const search = { ...stored, waiting: concluding ? [] : open };
      const before = this.record.search;
      const record = await this.#change((current) => waiting({ ...current, ...reached }, search));
      this.#over = true;
      if (record === undefined) return 'lost';
      this.#core.watch.changed(record.id, 'record');
      if (before !== undefined && before.key !== search.key) await this.#forget(before.key);
      return record;
    });
    if (went === 'lost') return went;
    const { waiting: open = [] } = went.search ?? {};
    // Those that ended meanwhile found the job taken when they told it.
    return went.status === 'queued' && !(await trials.allOver(went.tenant, open)) ? 'waiting' : 'ready';
  }

  /** The log that the record named before: the new one holds all of it. */
  async #forget(key: string): Promise<void> {
    try {
      await this.#core.store.delete(key);
    } catch (error) {
      this.#core.log.info({ event: 'job.log-kept', key, error: messageOf(error) }, 'an earlier log of trials was kept');
    }
  }

  modelOfTrial(
    jobId: string,
  ): Promise<readonly { readonly name: string; readonly key: string; readonly sha256: string }[]> {
    return new TrialJobs(this.#core).modelOf(this.record.tenant, jobId);
  }

  cancelTrials(): Promise<void> {
    return new TrialJobs(this.#core).cancel(this.record);
  }

  release(reason: { crashed: boolean; message: string; reached?: Progress }): Promise<void> {
    return this.#inTurn(async () => {
      const at = this.#core.timestamp();
      const why = reason.crashed ? 'crashed' : 'handed-back';
      await this.#end((current) => released({ ...current, ...reason.reached }, { why, message: reason.message, at }));
    });
  }

  /** Ends the attempt. @returns the job's status then, undefined when the job was lost before */
  async #end(change: (record: JobRecord) => JobRecord | undefined): Promise<JobRecord['status'] | undefined> {
    const record = await this.#change(change);
    // Refused as terminal though ours: the write got through but its answer did not, or the reconciler ended this attempt.
    const final = record ?? (isTerminal(this.record.status) && !this.#over ? this.record : undefined);
    this.#over = true;
    if (final === undefined) return undefined;
    if (isTerminal(final.status)) await this.#core.trySettle(final, this.#nextEventId);
    else this.#core.watch.changed(final.id, 'record');
    return final.status;
  }

  /** Compare-and-set of the record while this attempt owns it; undefined when it does not, or the change is refused. */
  async #change(change: (record: JobRecord) => JobRecord | undefined): Promise<JobRecord | undefined> {
    for (let tries = 0; tries < MAX_TRIES && !this.#over; tries++) {
      const { status } = this.record;
      const wanted = isTerminal(status) ? undefined : change(this.record);
      if (wanted === undefined) return undefined;
      const written = await this.#core.records.replace(this.#current, wanted);
      if (written !== undefined) {
        this.#current = written;
        return written.record;
      }
      if (!(await this.#refresh())) return undefined;
    }
    if (this.#over) return undefined;
    throw contended(this.record.id);
  }

  /** Reads the record again. False, and over, when the job belongs to somebody else. */
  async #refresh(): Promise<boolean> {
    const { tenant, id } = this.record;
    const found = await this.#core.records.read(tenant, id);
    const mine = found?.record.attempt === this.number && found.record.workerId === this.#owner;
    if (!mine) {
      this.#over = true;
      this.#core.log.info({ event: 'job.lost', jobId: id, attempt: this.number }, 'the attempt has lost its job');
      return false;
    }
    this.#current = found;
    return true;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const own = this.#tail.then(work);
    this.#tail = own.catch(() => undefined); // its caller gets the error
    return own;
  }
}
