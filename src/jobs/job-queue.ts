/**
 * The disposable half: tells some worker that a job may be waiting. Losing it loses nothing, a delivery may come twice,
 * and nothing is ever decided by what a call returns; the job record decides.
 */
export interface JobQueue {
  /** Idempotent by job id while the entry is in the queue. Tenants take turns, see FairTurns. */
  enqueue(jobId: string, place: QueuePlace): Promise<void>;
  /**
   * Calls the handler for each delivered id, `concurrency` at a time. The handler decides everything from the record;
   * `signal` fires when the queue may have given the id to another consumer too (lock lost): ask the record at once
   * (heartbeat) and stop if it says `lost`; if not, the attempt is still the one, and a queue that was emptied costs no
   * work. Rejections are logged and redelivered with backoff; `requeue` hands the id back without counting it.
   */
  consume(handler: JobHandler, options: { readonly concurrency: number }): Promise<Consumer>;
  /** Drops a waiting entry, if it is there. */
  remove(jobId: string): Promise<void>;
  counts(): Promise<QueueCounts>;
  /** Those of the ids that surely wait in the queue; others may, too. */
  holds(jobIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** 0-based place among the waiting, where the queue can tell. */
  position(jobId: string): Promise<number | undefined>;
  /** Tells every process of a change of this job. Best effort; pollers back it up. */
  notify(jobId: string, change: JobChange): Promise<void>;
  subscribe(listener: ChangeListener): Promise<() => Promise<void>>;
  /** Answers within 2 s or throws QUEUE_UNAVAILABLE. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Where an entry stands among those that wait. */
export interface QueuePlace {
  readonly tenant: string;
  /** -1 to 10, higher first among the entries of the same tenant. */
  readonly priority: number;
  /** `own`: it takes a turn of its tenant; `shared`: it goes along with the one that it would take; `ahead`: before all others. */
  readonly turn: 'own' | 'shared' | 'ahead';
}

/** `record`: the record says something else now (cancel asked, over, queued again); `event`: its log has one more. */
export type JobChange = 'record' | 'event';
export type ChangeListener = (jobId: string, change: JobChange) => void;

export type JobHandler = (delivery: {
  readonly jobId: string;
  readonly signal: AbortSignal;
}) => Promise<'done' | 'requeue'>;

export interface Consumer {
  /** Stops taking new deliveries; resolves when running handlers have ended. */
  close(): Promise<void>;
}

export interface QueueCounts {
  readonly waiting: number;
  readonly active: number;
  /** Age of the oldest waiting entry, where the queue can tell. */
  readonly oldestWaitingMs?: number;
}
