import { DelayedError, Worker } from 'bullmq';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import type { JobLog } from './job-log.ts';
import type { Consumer, JobHandler } from './job-queue.ts';
import { connectRedis } from './redis-connection.ts';
import type { ConnectionErrors } from './redis-connection.ts';

/**
 * Measured: with a lock of 15 s and a check every 5 s, the job of a killed worker is delivered again after 15 s; with
 * BullMQ's defaults after 60 s. The check's interval is shared through Redis: keep it equal in all processes.
 */
const LOCK_MS = 15_000;
const STALLED_CHECK_MS = 5_000;
/** BullMQ's default of 1 fails a job for good when its second worker dies. The record's breaker decides, not this. */
const MAX_STALLED = 1_000;
const MAX_BACKOFF_MS = 30_000;
const REQUEUE_REST_MS = 200;
const CLOSE_PATIENCE_MS = 3_000;
/** A Redis that does not answer a closing worker within this is away. */
const ANSWER_MS = 1_000;

/** Pause before the delivery that follows so many failed ones. */
export function redeliveryMs(failures: number): number {
  return Math.min(100 * 2 ** Math.max(0, failures - 1), MAX_BACKOFF_MS);
}

export class BullMqConsumer implements Consumer {
  readonly #worker: Worker;
  readonly #connection: Redis;
  readonly #handler: JobHandler;
  readonly #log: JobLog;
  readonly #errors: ConnectionErrors;
  readonly #onClose: () => void;
  readonly #running = new Map<string, { readonly lost: AbortController; readonly ended: Promise<unknown> }>();
  readonly #closed = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(options: {
    readonly name: string;
    readonly prefix: string;
    readonly redisUrl: string;
    readonly concurrency: number;
    readonly handler: JobHandler;
    readonly log: JobLog;
    readonly errors: ConnectionErrors;
    readonly onClose: () => void;
  }) {
    this.#handler = options.handler;
    this.#log = options.log;
    this.#errors = options.errors;
    this.#onClose = options.onClose;
    this.#connection = connectRedis(options.redisUrl, {
      role: 'consumer',
      errors: this.#errors,
      closed: this.#closed.signal,
    });
    this.#worker = new Worker(options.name, (job, token) => this.#process(job, token), {
      connection: this.#connection,
      prefix: options.prefix,
      concurrency: options.concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_CHECK_MS,
      maxStalledCount: MAX_STALLED,
      settings: { backoffStrategy: (failures) => redeliveryMs(failures) },
    });
    this.#worker.on('error', (error) => this.#errors.note(error));
    this.#worker.on('lockRenewalFailed', (jobIds) => {
      for (const jobId of jobIds) this.#running.get(jobId)?.lost.abort();
    });
    this.#worker.on('failed', (job, error) => {
      this.#log.warn(
        { event: 'queue.handler-failed', jobId: job?.id, error: messageOf(error) },
        'job handler failed; the job is delivered again',
      );
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #process(job: Job, token: string | undefined): Promise<void> {
    const jobId = job.id;
    if (jobId === undefined) return;
    // Taken while Redis was asked whether it is there to say goodbye to: for somebody else.
    if (this.#closing !== undefined) return this.#handBack(job, token);
    const lost = new AbortController();
    const work = this.#handler({ jobId, signal: lost.signal });
    this.#running.set(jobId, { lost, ended: work.catch(() => undefined) });
    try {
      if ((await work) === 'done') return;
    } finally {
      this.#running.delete(jobId);
    }
    return this.#handBack(job, token);
  }

  async #handBack(job: Job, token: string | undefined): Promise<never> {
    await job.moveToDelayed(Date.now() + REQUEUE_REST_MS, token);
    throw new DelayedError();
  }

  async #close(): Promise<void> {
    // A worker that waits for a Redis that is away never ends: its timers would keep the process alive.
    const away = !(await within(ANSWER_MS, this.#connection.ping()));
    const closed = this.#worker.close(away).catch((error: unknown) => this.#errors.note(error));
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
    await within(CLOSE_PATIENCE_MS, closed); // it may go away now
    this.#closed.abort();
    this.#connection.disconnect();
    this.#onClose();
  }
}

/** True when the work is done by then, false when it is not, or failed. */
async function within(limitMs: number, work: Promise<unknown>): Promise<boolean> {
  const patience = new AbortController();
  const done = work.then(
    () => true,
    () => false,
  );
  const late = delay(limitMs, false, { signal: patience.signal }).catch(() => false);
  const inTime = await Promise.race([done, late]);
  patience.abort();
  return inTime;
}
