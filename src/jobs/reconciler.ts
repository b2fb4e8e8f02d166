import { messageOf } from '../errors.ts';
import type { JobError, JobRecord } from '../schemas/job.ts';
import { mapConcurrently } from './concurrency.ts';
import type { JobCore } from './job-core.ts';
import { parseMarker, PENDING_PREFIX } from './job-keys.ts';
import type { VersionedRecord } from './job-records.ts';
import { ended, isConcluding, isTerminal } from './record-changes.ts';
import { mustConclude } from './search-deadline.ts';
import { TrialJobs } from './trial-jobs.ts';

export interface ReconcilerOptions {
  /** Time between the end of a round and the next; default 5 s. Silence is found at most this late. */
  readonly intervalMs?: number;
  /**
   * No other process works on this store: an attempt that the store says is running when the first round comes is of a
   * process that has ended, and need not be watched to know it.
   */
  readonly soleProcess?: boolean;
}

export interface ReconcileReport {
  /** Markers seen. */
  readonly pending: number;
  /** Ids given to the queue; it knows most of them already. */
  readonly enqueued: number;
  /** Attempts that had fallen silent. */
  readonly silent: number;
  /** Jobs whose end was told now, since a crash had cut that short. */
  readonly settled: number;
}

/** A job that no worker took for this long is failed: nobody waits for it any more. */
const MAX_QUEUED_MS = 7 * 24 * 3600 * 1000;
const UNCLAIMED: JobError = {
  code: 'OVERLOADED',
  message: 'no worker took the job for 7 days; start workers, then post it again',
  step: null,
  retryable: true,
};
const ORPHAN_MARKER_MS = 60_000;
/** A job that waits in the queue has its record read this often only: thousands may wait, and each read is a request to the store. */
const WAITING_READ_MS = 60_000;
const DEFAULT_INTERVAL_MS = 5_000;
const PAGE = 1000;
const CONCURRENCY = 16;

type Visit = 'enqueued' | 'silent' | 'settled' | 'nothing';
interface Marker {
  readonly jobId: string;
  readonly tenant: string;
  readonly key: string;
}

/**
 * Makes the queue agree with the records, round after round: queued jobs are enqueued (again), attempts that fell silent
 * are ended, the end of a job that a crash cut short is completed. Every step is a compare-and-set or harmless when
 * repeated, so any number of processes may run one; each process that submits or runs jobs does.
 */
export class Reconciler {
  readonly #core: JobCore;
  readonly #intervalMs: number;
  readonly #orphans = new Map<string, number>();
  /** Plain jobs that were queued when their record was read, and when that was. */
  readonly #waiting = new Map<string, number>();
  #takeAll: boolean;
  /** The queue did not answer in this round: it is left alone, the other healing goes on. */
  #queueAway = false;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(core: JobCore, options: ReconcilerOptions = {}) {
    this.#core = core;
    this.#intervalMs = options.intervalMs ?? DEFAULT_INTERVAL_MS;
    this.#takeAll = options.soleProcess ?? false;
  }

  /** Runs the first round, then one after each interval. Call it before this process consumes. Never rejects. */
  async start(): Promise<void> {
    await this.#next();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  /** One round. @throws CompressionError when the store does not answer */
  async reconcile(): Promise<ReconcileReport> {
    const takeAll = this.#takeAll;
    this.#queueAway = false;
    const report = { pending: 0, enqueued: 0, silent: 0, settled: 0 };
    // Jobs are listed newest first, and a queue that was emptied goes by the order in which it is filled.
    const markers = (await this.#markers()).reverse();
    report.pending = markers.length;
    const seen = new Set(markers.map(({ jobId }) => jobId));
    for (let from = 0; from < markers.length && !this.#stopped; from += PAGE) {
      const page = markers.slice(from, from + PAGE);
      const waiting = await this.#stillWaiting(page);
      await mapConcurrently(page, CONCURRENCY, async (marker) => {
        if (this.#stopped || waiting.has(marker.jobId)) return;
        try {
          const visit = await this.#visit(marker, takeAll);
          if (visit !== 'nothing') report[visit] += 1;
        } catch (error) {
          // One bad record must not keep the others from being healed.
          this.#core.log.warn(
            { event: 'reconciler.job-failed', jobId: marker.jobId, error: messageOf(error) },
            'a job could not be reconciled; the next round tries again',
          );
        }
      });
    }
    this.#takeAll = false;
    this.#core.liveness.retain(seen);
    for (const known of [this.#orphans, this.#waiting])
      for (const jobId of known.keys()) if (!seen.has(jobId)) known.delete(jobId);
    return report;
  }

  /** Of all jobs that are not over. */
  async #markers(): Promise<Marker[]> {
    const markers: Marker[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await this.#core.store.list(PENDING_PREFIX, {
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      });
      for (const { key } of page) {
        const marker = parseMarker(key);
        if (marker !== undefined) markers.push({ ...marker, key });
      }
      after = page.at(-1)?.key;
      if (page.length < PAGE || this.#stopped) return markers;
    }
  }

  async #next(): Promise<void> {
    const round = this.reconcile().catch((error: unknown) => {
      this.#core.log.warn({ event: 'reconciler.failed', error: messageOf(error) }, 'the store could not be reconciled');
    });
    this.#round = round;
    await round;
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#next(), this.#intervalMs * (0.9 + 0.2 * Math.random()));
    this.#timer.unref();
  }

  /** Those whose record was read a short while ago as queued and that the queue still has: there is nothing to heal. */
  async #stillWaiting(markers: readonly Marker[]): Promise<ReadonlySet<string>> {
    const now = this.#core.clock.monotonic();
    const recent = markers.flatMap(({ jobId }) =>
      now - (this.#waiting.get(jobId) ?? Number.NEGATIVE_INFINITY) < WAITING_READ_MS ? [jobId] : [],
    );
    if (recent.length === 0 || this.#queueAway) return new Set();
    try {
      return await this.#core.queue.holds(recent);
    } catch {
      this.#queueAway = true;
      return new Set(); // it has lost them all, for what we know
    }
  }

  async #visit(marker: Marker, takeAll: boolean): Promise<Visit> {
    const core = this.#core;
    const found = await core.records.read(marker.tenant, marker.jobId);
    if (found === undefined) return this.#sweepOrphan(marker);
    this.#orphans.delete(marker.jobId);
    const { record } = found;
    // A search may have to be brought to its end while it waits, so it is always looked at.
    if (record.status === 'queued' && record.search === undefined)
      this.#waiting.set(record.id, this.#core.clock.monotonic());
    else this.#waiting.delete(record.id);
    if (isTerminal(record.status)) {
      await core.settle(record);
      return 'settled';
    }
    if (record.status === 'queued' || isConcluding(record)) return this.#enqueue(found);
    if (!takeAll && !core.liveness.isSilent(record)) return 'nothing';
    const then = await core.endSilentAttempt(found);
    if (then !== undefined && !isTerminal(then.status)) await core.enqueue(then);
    return then === undefined ? 'nothing' : 'silent';
  }

  async #enqueue(found: VersionedRecord): Promise<Visit> {
    const core = this.#core;
    const { record } = found;
    core.remember(record.tenant, record.id);
    // Trials may hold every worker: their search comes to its end only when they do.
    if (mustConclude(record, core.clock.now())) await new TrialJobs(core).cancel(record);
    if (core.clock.now() - waitingSince(record) < MAX_QUEUED_MS) {
      if (this.#queueAway) return 'nothing';
      this.#queueAway = !(await core.enqueue(record));
      return this.#queueAway ? 'nothing' : 'enqueued';
    }
    const over = ended(record, 'expire', { at: core.timestamp(), error: UNCLAIMED });
    const written = over === undefined ? undefined : await core.records.replace(found, over);
    if (written === undefined) return 'nothing';
    await core.settle(written.record);
    return 'settled';
  }

  /** A marker whose record does not come: its submit died in between. */
  async #sweepOrphan(marker: Marker): Promise<Visit> {
    const now = this.#core.clock.monotonic();
    const since = this.#orphans.get(marker.jobId) ?? now;
    this.#orphans.set(marker.jobId, since);
    if (now - since >= ORPHAN_MARKER_MS) await this.#core.store.delete(marker.key);
    return 'nothing';
  }
}

/** A search waits for its trials too, until its deadline. */
function waitingSince({ createdAt, search, deadlineAt }: JobRecord): number {
  return Date.parse(search === undefined || deadlineAt === null ? createdAt : deadlineAt);
}
