import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import { Manifest } from '../schemas/job.ts';
import type { JobRecord } from '../schemas/job.ts';
import { JobId } from '../schemas/common.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { ChangeWatch } from './change-watch.ts';
import { timestamp } from './clock.ts';
import type { Clock } from './clock.ts';
import { EventLog } from './event-log.ts';
import type { JobIds } from './job-ids.ts';
import { manifestKey, markerKey, parseMarker, PENDING_PREFIX } from './job-keys.ts';
import type { JobLog } from './job-log.ts';
import type { JobQueue } from './job-queue.ts';
import { decodeJson, encodeJson, JobRecords } from './job-records.ts';
import type { VersionedRecord } from './job-records.ts';
import type { JobEvent } from './job-service.ts';
import { AttemptLiveness } from './liveness.ts';
import { ended, isTerminal, released } from './record-changes.ts';
import { queuePlace } from './queue-place.ts';

/**
 * Called for each event of a job (webhooks hang here). A terminal event is given until the call succeeds, so it may come
 * twice, also from two processes: tell repeats by job and event id. Other events are given once, at best.
 */
export type JobEventSink = (record: JobRecord, event: JobEvent) => Promise<void>;

export interface JobDependencies {
  readonly store: ObjectStore;
  readonly queue: JobQueue;
  readonly clock: Clock;
  readonly ids: JobIds;
  readonly log: JobLog;
  readonly onEvent: JobEventSink;
  readonly silenceLimitMs: number;
}

const ENQUEUE_PATIENCE_MS = 250;
const WAKE_AGAIN_MS = 500;
const MAX_KNOWN_TENANTS = 10_000;

/** What service, claims and reconciler share: the records, the log, and how a job comes to rest. */
export class JobCore {
  readonly store: ObjectStore;
  readonly queue: JobQueue;
  readonly clock: Clock;
  readonly ids: JobIds;
  readonly log: JobLog;
  readonly records: JobRecords;
  readonly events: EventLog;
  readonly watch: ChangeWatch;
  readonly liveness: AttemptLiveness;
  readonly #onEvent: JobEventSink;
  readonly #tenants = new Map<string, string>();

  constructor(dependencies: JobDependencies) {
    this.store = dependencies.store;
    this.queue = dependencies.queue;
    this.clock = dependencies.clock;
    this.ids = dependencies.ids;
    this.log = dependencies.log;
    this.records = new JobRecords(this.store);
    this.events = new EventLog(this.store);
    this.watch = new ChangeWatch(this.queue, this.log);
    this.liveness = new AttemptLiveness(this.clock, dependencies.silenceLimitMs);
    this.#onEvent = dependencies.onEvent;
  }

  timestamp(): string {
    return timestamp(this.clock);
  }

  async putMarker(record: JobRecord): Promise<void> {
    this.remember(record.tenant, record.id);
    await this.store.put(markerKey(record), encodeJson({}));
  }

  remember(tenant: string, jobId: string): void {
    const oldest = this.#tenants.keys().next();
    if (this.#tenants.size >= MAX_KNOWN_TENANTS && oldest.done !== true) this.#tenants.delete(oldest.value);
    this.#tenants.set(jobId, tenant);
  }

  /** Whose job it is, by its marker; undefined for a job that is over, and for an id that somebody made up. */
  async tenantOf(jobId: string): Promise<string | undefined> {
    const known = this.#tenants.get(jobId);
    if (known !== undefined) return known;
    if (!JobId.safeParse(jobId).success) return undefined;
    const [marker] = await this.store.list(`${PENDING_PREFIX}${jobId}@`, { limit: 1 });
    const tenant = marker === undefined ? undefined : parseMarker(marker.key)?.tenant;
    if (tenant !== undefined) this.remember(tenant, jobId);
    return tenant;
  }

  /**
   * Best effort, and not for long: the record is stored, the reconciler enqueues what this could not.
   * @returns false when the queue did not take the id in time
   */
  async enqueue(record: JobRecord): Promise<boolean> {
    const patience = new AbortController();
    const enqueued = this.queue.enqueue(record.id, queuePlace(record)).then(
      () => true,
      (error: unknown) => {
        this.log.warn(
          { event: 'job.enqueue-failed', jobId: record.id, error: messageOf(error) },
          'could not enqueue; the reconciler will',
        );
        return false;
      },
    );
    const late = delay(ENQUEUE_PATIENCE_MS, false, { signal: patience.signal }).catch(() => false);
    const taken = await Promise.race([enqueued, late]);
    patience.abort();
    return taken;
  }

  /** Best effort: a worker that is given the id of a job that is over does nothing. */
  dequeue(jobId: string): void {
    this.queue.remove(jobId).catch((error: unknown) => {
      this.log.info({ event: 'job.remove-failed', jobId, error: messageOf(error) }, 'a canceled job is still queued');
    });
  }

  /** Passes on an event that is not terminal. */
  emit(record: JobRecord, event: JobEvent): void {
    this.watch.changed(record.id, 'event');
    this.#onEvent(record, event).catch((error: unknown) => {
      this.log.warn(
        { event: 'job.sink-failed', jobId: record.id, eventId: event.id, error: messageOf(error) },
        'an event was not passed on',
      );
    });
  }

  /**
   * What follows a terminal record: terminal event, sink, and last the marker's removal. Repeatable, so that the
   * reconciler can finish what a crash cut short.
   */
  async settle(record: JobRecord, nextEventId?: number): Promise<void> {
    this.watch.changed(record.id, 'record');
    const event = await this.events.appendTerminal(record, this.timestamp(), nextEventId);
    this.watch.changed(record.id, 'event');
    await this.#onEvent(record, event);
    await this.store.delete(markerKey(record));
    this.#tenants.delete(record.id);
    if (record.trial !== undefined) this.#wake(record.trial.parent, record);
  }

  /**
   * A trial is over, so the search that asked for it may go on. Told twice, since a queue drops an id that is with a consumer
   * just then; what is lost all the same, the reconciler finds.
   */
  #wake(jobId: string, { tenant, priority }: JobRecord): void {
    const tell = (): void => {
      this.queue.enqueue(jobId, { tenant, priority, turn: 'shared' }).catch((error: unknown) => {
        this.log.info({ event: 'job.wake-failed', jobId, error: messageOf(error) }, 'a search was not woken');
      });
    };
    tell();
    setTimeout(tell, WAKE_AGAIN_MS).unref();
  }

  /** Settles now if that works; if not, the marker is still there and the reconciler does. */
  async trySettle(record: JobRecord, nextEventId?: number): Promise<void> {
    try {
      await this.settle(record, nextEventId);
    } catch (error) {
      this.log.warn(
        { event: 'job.settle-failed', jobId: record.id, error: messageOf(error) },
        'the job is over, but its terminal event is not out yet; the reconciler tries again',
      );
    }
  }

  async readManifest(record: JobRecord): Promise<Manifest | undefined> {
    const key = manifestKey(record.tenant, record.id, record.attempt);
    const found = await this.store.get(key);
    return found === undefined ? undefined : Manifest.parse(decodeJson(key, found.body));
  }

  /**
   * Ends an attempt that has fallen silent: as succeeded if its manifest is there (it died between manifest and record),
   * as canceled if the end was asked for, else the job is queued again.
   *
   * @returns the record then; undefined when somebody else changed it meanwhile: the attempt lives, or is ended already
   */
  async endSilentAttempt(found: VersionedRecord): Promise<JobRecord | undefined> {
    const { record } = found;
    const at = this.timestamp();
    const manifest = record.status === 'running' ? await this.readManifest(record) : undefined;
    const wanted =
      manifest === undefined
        ? released(record, { why: 'lost', message: `worker ${record.workerId ?? ''} fell silent`, at })
        : ended(record, 'succeed', { at, result: { summary: manifest.summary, verdict: manifest.verdict } });
    const written = wanted === undefined ? undefined : await this.records.replace(found, wanted);
    if (written === undefined) return undefined;
    this.log.warn(
      {
        event: 'job.attempt-lost',
        jobId: record.id,
        attempt: record.attempt,
        workerId: record.workerId,
        status: written.record.status,
      },
      'an attempt fell silent and was ended',
    );
    if (isTerminal(written.record.status)) await this.trySettle(written.record);
    else this.watch.changed(record.id, 'record');
    return written.record;
  }
}
