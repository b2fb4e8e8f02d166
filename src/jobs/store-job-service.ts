import { CompressionError, messageOf } from '../errors.ts';
import { JobId } from '../schemas/common.ts';
import { statusOf } from '../schemas/job-view.ts';
import type { JobRecord, JobStatus, Manifest } from '../schemas/job.ts';
import { mapConcurrently } from './concurrency.ts';
import { createRecord } from './create-record.ts';
import { IdempotencyKeys } from './idempotency.ts';
import type { IdempotentRequest } from './idempotency.ts';
import type { JobCore } from './job-core.ts';
import { filesPrefix, markerKey, parseMarker, PENDING_PREFIX, recordKey, recordsPrefix } from './job-keys.ts';
import type { JobEvent, JobService, NewJob } from './job-service.ts';
import { cancelRequested, hasResult, isConcluding, isTerminal, newRecord } from './record-changes.ts';

const PAGE = 1000;
const CONCURRENCY = 16;
/** Jobs one filtered page looks at. */
const SCAN_LIMIT = 500;
const SCAN_BATCH = 50;

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

  async list(
    tenant: string,
    query: { status?: JobStatus; model?: string; limit: number; cursor?: string },
  ): Promise<{ items: readonly JobRecord[]; nextCursor: string | null }> {
    const { status, model, limit, cursor } = query;
    if (cursor !== undefined && !JobId.safeParse(cursor).success) {
      throw new CompressionError('QUERY_INVALID', `cursor ${JSON.stringify(cursor)} is not a nextCursor of this list`, {
        places: [{ pointer: '/cursor', message: 'must be the nextCursor of the page before' }],
      });
    }
    const filtered = status !== undefined || model !== undefined;
    const batch = filtered ? SCAN_BATCH : limit;
    const items: JobRecord[] = [];
    let last = cursor;
    for (let scanned = 0; scanned < SCAN_LIMIT; scanned += batch) {
      // One more than needed tells whether there is a next page.
      const ids = await this.#idsAfter(tenant, last, batch + 1);
      const found = await mapConcurrently(ids.slice(0, batch), CONCURRENCY, (id) => this.get(tenant, id));
      for (const [index, id] of ids.slice(0, batch).entries()) {
        last = id;
        const record = found[index];
        if (record === undefined) continue; // removed since the listing
        if ((status !== undefined && statusOf(record) !== status) || (model !== undefined && record.model !== model))
          continue;
        items.push(record);
        if (items.length === limit) return { items, nextCursor: index + 1 < ids.length ? id : null };
      }
      if (ids.length <= batch) return { items, nextCursor: null };
    }
    return { items, nextCursor: last ?? null };
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
      await core.trySettle(record);
      core.queue.remove(jobId).catch((error: unknown) => {
        core.log.info({ event: 'job.remove-failed', jobId, error: messageOf(error) }, 'a canceled job is still queued');
      });
    } else {
      core.watch.changed(jobId);
      if (isConcluding(record)) await core.enqueue(record);
    }
    return record;
  }

  async remove(tenant: string, jobId: string): Promise<void> {
    const core = this.#core;
    const record = await this.get(tenant, jobId);
    if (record === undefined) throw notFound(jobId);
    if (!isTerminal(record.status)) {
      throw new CompressionError('CONFLICT', `job ${jobId} is ${record.status}; cancel it and wait for its end first`);
    }
    const marker = await core.store.head(markerKey(record));
    if (marker !== undefined) await core.settle(record); // its end has not been told yet
    await this.#keys.forget(record);
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

  #made(id: string, idempotencyKey: string | null) {
    return { id, idempotencyKey, at: this.#core.timestamp() };
  }

  async #idsAfter(tenant: string, cursor: string | undefined, limit: number): Promise<readonly string[]> {
    const prefix = recordsPrefix(tenant);
    const page = await this.#core.store.list(prefix, {
      limit,
      ...(cursor === undefined ? {} : { after: recordKey(tenant, cursor) }),
    });
    return page.map((info) => info.key.slice(prefix.length, -'.json'.length));
  }
}

function notFound(jobId: string): CompressionError {
  return new CompressionError('NOT_FOUND', `there is no job ${JSON.stringify(jobId.slice(0, 100))}`);
}
