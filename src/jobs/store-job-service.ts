import { CompressionError, messageOf } from '../errors.ts';
import { JobId } from '../schemas/common.ts';
import { statusOf } from '../schemas/job-view.ts';
import type { JobRecord, Manifest } from '../schemas/job.ts';
import { mapConcurrently } from './concurrency.ts';
import { createRecord } from './create-record.ts';
import { IdempotencyKeys } from './idempotency.ts';
import type { IdempotentRequest } from './idempotency.ts';
import type { JobCore } from './job-core.ts';
import { filesPrefix, markerKey, parseMarker, PENDING_PREFIX, recordKey, trialKey } from './job-keys.ts';
import { listJobs, trialsOf } from './job-list.ts';
import type { JobEvent, JobPage, JobQuery, JobService, NewJob } from './job-service.ts';
import { decodeJson } from './job-records.ts';
import { cancelRequested, hasResult, isConcluding, isTerminal, newRecord } from './record-changes.ts';
import { KnownTrial, TrialJobs } from './trial-jobs.ts';

const PAGE = 1000;
const CONCURRENCY = 16;

/** The jobs as the HTTP side sees them. */
export class StoreJobService implements JobService {
  readonly #core: JobCore;
  readonly #keys: IdempotencyKeys;

  constructor(core: JobCore) {
    this.#core = core;
    this.#keys = new IdempotencyKeys(core);
  }

  async submit(job: NewJob, idempotency?: IdempotentRequest): Promise<{ record: JobRecord; replayed: boolean }> {
    const { ids } = this.#core;
    if (idempotency === undefined) return createRecord(this.#core, newRecord(job, this.#made(ids.jobId(), null)));
    const decision = await this.#keys.decide(job.tenant, idempotency, ids.jobId());
    if ('replay' in decision) return { record: decision.replay, replayed: true };
    return createRecord(this.#core, newRecord(job, this.#made(decision.jobId, idempotency.key)));
  }

  async get(tenant: string, jobId: string): Promise<JobRecord | undefined> {
    if (!JobId.safeParse(jobId).success) return undefined;
    return (await this.#core.records.read(tenant, jobId))?.record;
  }

  list(tenant: string, query: JobQuery): Promise<JobPage> {
    return listJobs(this.#core, tenant, query);
  }

  async activeIds(tenant: string, limit: number): Promise<readonly string[]> {
    const active: string[] = [];
    let after: string | undefined;
    while (active.length < limit) {
      const page = await this.#core.store.list(PENDING_PREFIX, {
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      });
      for (const { key } of page) {
        const marker = parseMarker(key);
        if (marker?.tenant === tenant && !marker.isTrial) active.push(marker.jobId);
      }
      after = page.at(-1)?.key;
      if (page.length < PAGE) break;
    }
    return active.slice(0, limit);
  }

  async cancel(tenant: string, jobId: string): Promise<JobRecord> {
    const core = this.#core;
    const at = core.timestamp();
    const result = JobId.safeParse(jobId).success
      ? await core.records.update(tenant, jobId, (record) => cancelRequested(record, at))
      : undefined;
    if (result === undefined) throw notFound(jobId);
    const { record, changed } = result;
    if (!changed) return record;
    if (isTerminal(record.status)) {
      core.dequeue(jobId);
      await core.trySettle(record);
    } else {
      core.watch.changed(jobId, 'record');
      if (isConcluding(record)) await this.#hurry(record);
    }
    return record;
  }

  async remove(tenant: string, jobId: string): Promise<void> {
    const core = this.#core;
    const record = await this.get(tenant, jobId);
    if (record === undefined) throw notFound(jobId);
    if (!isTerminal(record.status)) {
      throw new CompressionError(
        'CONFLICT',
        `job ${jobId} is ${statusOf(record)}; cancel it and wait for its end first`,
      );
    }
    const marker = await core.store.head(markerKey(record));
    if (marker !== undefined) await core.settle(record); // its end has not been told yet
    await this.#keys.forget(record);
    if (record.search !== undefined) await this.#removeTrials(record);
    if (record.trial !== undefined) await this.#forgetTrial(record, record.trial.hash);
    // The record goes last: until then the call can be repeated.
    for (;;) {
      const page = await core.store.list(filesPrefix(tenant, jobId), { limit: PAGE });
      await mapConcurrently(page, CONCURRENCY, (info) => core.store.delete(info.key));
      if (page.length < PAGE) break;
    }
    await core.store.delete(recordKey(tenant, jobId));
  }

  async events(tenant: string, jobId: string, after: number): Promise<readonly JobEvent[]> {
    const record = await this.get(tenant, jobId);
    if (record === undefined) throw notFound(jobId);
    return this.#core.events.read(record, after);
  }

  waitForChange(jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    return this.#core.watch.wait(jobId, timeoutMs, signal);
  }

  async manifest(tenant: string, jobId: string): Promise<Manifest | undefined> {
    const record = await this.get(tenant, jobId);
    if (record === undefined) throw notFound(jobId);
    return hasResult(record) ? this.#core.readManifest(record) : undefined;
  }

  async position(jobId: string): Promise<number | null> {
    try {
      return (await this.#core.queue.position(jobId)) ?? null;
    } catch (error) {
      if (error instanceof CompressionError && error.code === 'QUEUE_UNAVAILABLE') return null;
      throw error;
    }
  }

  /** A canceled search that waited: its trials need not run on, and it goes ahead of what stands in the queue. */
  async #hurry(record: JobRecord): Promise<void> {
    const core = this.#core;
    await new TrialJobs(core).cancel(record);
    // It may stand there with the others already, and an entry keeps its place.
    await core.queue.remove(record.id).catch((error: unknown) => {
      core.log.info(
        { event: 'job.remove-failed', jobId: record.id, error: messageOf(error) },
        'a search was not hurried',
      );
    });
    await core.enqueue(record);
  }

  /** The trials that this search made, and that are over; other searches asked for them again if they still need them. */
  async #removeTrials({ tenant, id }: JobRecord): Promise<void> {
    await mapConcurrently(await trialsOf(this.#core, tenant, id), CONCURRENCY, async (trialId) => {
      const trial = await this.get(tenant, trialId);
      if (trial?.trial?.parent === id && isTerminal(trial.status)) await this.remove(tenant, trialId);
    });
  }

  /** The next search that wants it makes it anew at once. */
  async #forgetTrial({ tenant, id }: JobRecord, hash: string): Promise<void> {
    const { store } = this.#core;
    const key = trialKey(tenant, hash);
    const found = await store.get(key);
    if (found !== undefined && KnownTrial.parse(decodeJson(key, found.body)).job === id) await store.delete(key);
  }

  #made(id: string, idempotencyKey: string | null) {
    return { id, idempotencyKey, at: this.#core.timestamp() };
  }
}

function notFound(jobId: string): CompressionError {
  return new CompressionError('NOT_FOUND', `there is no job ${JSON.stringify(jobId.slice(0, 100))}`);
}
