import { messageOf } from '../errors.ts';
import type { JobChange, JobQueue } from './job-queue.ts';
import type { JobLog } from './job-log.ts';

const SUBSCRIBE_RETRY_MS = 2_000;

/** Wakes those who wait for a job's change, told by this process at once and by others through the queue. */
export class ChangeWatch {
  readonly #queue: JobQueue;
  readonly #log: JobLog;
  readonly #waiting = new Map<string, Set<() => void>>();
  #subscription: Promise<(() => Promise<void>) | undefined> | undefined;

  constructor(queue: JobQueue, log: JobLog) {
    this.#queue = queue;
    this.#log = log;
  }

  /** Tells every process. Never fails and never holds up the caller: pollers back it up. */
  changed(jobId: string, change: JobChange): void {
    this.#wake(jobId);
    this.#queue.notify(jobId, change).catch((error: unknown) => {
      this.#log.warn({ event: 'job.notify-failed', jobId, error: messageOf(error) }, 'could not tell of a change');
    });
  }

  async wait(jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    this.#subscription ??= this.#subscribe();
    const waiting = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiting);
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        waiting.delete(done);
        if (waiting.size === 0 && this.#waiting.get(jobId) === waiting) this.#waiting.delete(jobId);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      signal?.addEventListener('abort', done);
      waiting.add(done);
    });
  }

  async close(): Promise<void> {
    for (const jobId of [...this.#waiting.keys()]) this.#wake(jobId);
    const unsubscribe = await this.#subscription;
    await unsubscribe?.();
  }

  #wake(jobId: string): void {
    for (const done of [...(this.#waiting.get(jobId) ?? [])]) done();
  }

  async #subscribe(): Promise<(() => Promise<void>) | undefined> {
    try {
      return await this.#queue.subscribe((jobId) => this.#wake(jobId));
    } catch (error) {
      this.#log.warn({ event: 'job.subscribe-failed', error: messageOf(error) }, 'no news from other processes');
      setTimeout(() => (this.#subscription = undefined), SUBSCRIBE_RETRY_MS).unref();
      return undefined;
    }
  }
}
