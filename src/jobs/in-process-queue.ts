import { messageOf, CompressionError } from '../errors.ts';
import { FairTurns } from './fair-turns.ts';
import type { Standing } from './fair-turns.ts';
import { SILENT_LOG } from './job-log.ts';
import type { JobLog } from './job-log.ts';
import type {
  ChangeListener,
  Consumer,
  JobChange,
  JobHandler,
  JobQueue,
  QueueCounts,
  QueuePlace,
} from './job-queue.ts';

interface Entry extends Standing {
  readonly jobId: string;
  readonly since: number;
  /** Deliveries whose handler failed, for the backoff. */
  failures: number;
  state: 'waiting' | 'active' | 'resting';
  isReturned: boolean;
  timer?: NodeJS.Timeout;
}

const MAX_BACKOFF_MS = 30_000;
/** How long an id that was handed back rests, so that a consumer who still cannot take it does not spin. */
const REQUEUE_REST_MS = 200;

/**
 * The queue of a single process: nothing is polled, so a job starts in the turn of the event loop in which it is
 * enqueued. It dies with the process; the reconciler refills it from the records at the next start.
 */
export class InProcessQueue implements JobQueue {
  readonly #entries = new Map<string, Entry>();
  readonly #consumers = new Set<LocalConsumer>();
  readonly #listeners = new Set<ChangeListener>();
  readonly #log: JobLog;
  readonly #turns = new FairTurns();
  #arrivals = 0;
  #closed = false;

  constructor(log: JobLog = SILENT_LOG) {
    this.#log = log;
  }

  enqueue(jobId: string, place: QueuePlace): Promise<void> {
    return this.#answer(() => {
      if (this.#entries.has(jobId)) return;
      const entry: Entry = {
        jobId,
        place,
        turn: { round: 0, arrival: this.#arrivals++ },
        since: performance.now(),
        failures: 0,
        state: 'waiting',
        isReturned: false,
      };
      this.#turns.place(entry, this.#waiting());
      this.#entries.set(jobId, entry);
      this.#dispatch();
    });
  }

  consume(handler: JobHandler, options: { readonly concurrency: number }): Promise<Consumer> {
    return this.#answer(() => {
      const consumer = new LocalConsumer(handler, options.concurrency, () => this.#consumers.delete(consumer));
      this.#consumers.add(consumer);
      this.#dispatch();
      return consumer;
    });
  }

  remove(jobId: string): Promise<void> {
    return this.#answer(() => {
      const entry = this.#entries.get(jobId);
      if (entry === undefined || entry.state === 'active') return;
      clearTimeout(entry.timer);
      this.#entries.delete(jobId);
    });
  }

  counts(): Promise<QueueCounts> {
    return this.#answer(() => {
      const waiting = this.#waiting();
      const active = [...this.#entries.values()].filter((entry) => entry.state === 'active').length;
      if (waiting.length === 0) return { waiting: this.#entries.size - active, active };
      const oldest = Math.min(...waiting.map((entry) => entry.since));
      return { waiting: this.#entries.size - active, active, oldestWaitingMs: performance.now() - oldest };
    });
  }

  holds(jobIds: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#answer(() => new Set(jobIds.filter((jobId) => this.#entries.get(jobId)?.state === 'waiting')));
  }

  position(jobId: string): Promise<number | undefined> {
    return this.#answer(() => {
      const place = this.#waiting().findIndex((entry) => entry.jobId === jobId);
      return place === -1 ? undefined : place;
    });
  }

  notify(jobId: string, change: JobChange): Promise<void> {
    return this.#answer(() => {
      for (const listener of [...this.#listeners]) {
        // A listener of somebody else must not make the writer's call fail.
        try {
          listener(jobId, change);
        } catch (error) {
          this.#log.warn({ event: 'queue.listener-failed', jobId, error: messageOf(error) }, 'queue listener failed');
        }
      }
    });
  }

  subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    return this.#answer(() => {
      const own: ChangeListener = (jobId, change) => listener(jobId, change); // the same function may subscribe twice
      this.#listeners.add(own);
      return () => {
        this.#listeners.delete(own);
        return Promise.resolve();
      };
    });
  }

  ping(): Promise<void> {
    return this.#answer(() => undefined);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    for (const entry of this.#entries.values()) clearTimeout(entry.timer);
    this.#entries.clear();
    this.#listeners.clear();
  }

  async #answer<T>(work: () => T): Promise<T> {
    if (this.#closed) throw new CompressionError('QUEUE_UNAVAILABLE', 'the job queue of this process is closed');
    return Promise.resolve(work());
  }

  /** In the order of their turns. */
  #waiting(): Entry[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.state === 'waiting')
      .sort((a, b) => a.turn.round - b.turn.round || a.turn.arrival - b.turn.arrival);
  }

  #dispatch(): void {
    for (const consumer of this.#consumers) {
      while (consumer.free > 0) {
        const entry = this.#waiting()[0];
        if (entry === undefined) return;
        entry.state = 'active';
        void consumer.deliver(entry.jobId).then((outcome) => this.#settle(entry, outcome));
      }
    }
  }

  #settle(entry: Entry, outcome: DeliveryOutcome): void {
    switch (outcome.result) {
      case 'done':
        this.#entries.delete(entry.jobId);
        break;
      case 'requeue':
        this.#rest(entry, REQUEUE_REST_MS);
        break;
      case 'failed': {
        const backoffMs = Math.min(100 * 2 ** entry.failures, MAX_BACKOFF_MS);
        entry.failures += 1;
        this.#log.warn(
          { event: 'queue.handler-failed', jobId: entry.jobId, backoffMs, error: messageOf(outcome.error) },
          'job handler failed; the job is delivered again',
        );
        this.#rest(entry, backoffMs);
        break;
      }
    }
    this.#dispatch();
  }

  #rest(entry: Entry, restMs: number): void {
    if (this.#closed) return;
    entry.state = 'resting';
    entry.timer = setTimeout(() => {
      entry.state = 'waiting';
      entry.isReturned = true;
      this.#dispatch();
    }, restMs);
    entry.timer.unref();
  }
}

type DeliveryOutcome = { readonly result: 'done' | 'requeue' } | { readonly result: 'failed'; readonly error: unknown };

class LocalConsumer implements Consumer {
  readonly #handler: JobHandler;
  readonly #concurrency: number;
  readonly #onClose: () => void;
  readonly #running = new Set<Promise<DeliveryOutcome>>();
  #closed = false;

  constructor(handler: JobHandler, concurrency: number, onClose: () => void) {
    this.#handler = handler;
    this.#concurrency = concurrency;
    this.#onClose = onClose;
  }

  get free(): number {
    return this.#closed ? 0 : this.#concurrency - this.#running.size;
  }

  async deliver(jobId: string): Promise<DeliveryOutcome> {
    const run = this.#run(jobId);
    this.#running.add(run);
    const outcome = await run;
    this.#running.delete(run);
    return outcome;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#onClose();
    await Promise.all(this.#running);
  }

  async #run(jobId: string): Promise<DeliveryOutcome> {
    // One process: the delivery cannot be lost while its handler runs, so the signal never fires.
    const { signal } = new AbortController();
    try {
      return { result: await this.#handler({ jobId, signal }) };
    } catch (error) {
      return { result: 'failed', error };
    }
  }
}
