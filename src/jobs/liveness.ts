import type { JobRecord } from '../schemas/job.ts';
import type { Clock } from './clock.ts';

/** Silence after which an attempt counts as dead: two heartbeats (5 s apart) missed, and slack for a busy machine. */
export const SILENCE_LIMIT_MS = 15_000;

/**
 * Tells dead attempts from living ones by watching whether the heartbeat in the record changes, against this process's
 * own monotonic clock. Times of other machines are never compared, so neither skew nor a clock that is set can make a
 * healthy attempt look dead.
 */
export class AttemptLiveness {
  readonly #clock: Clock;
  readonly #silenceLimitMs: number;
  readonly #seen = new Map<string, { readonly sign: string; readonly since: number }>();

  constructor(clock: Clock, silenceLimitMs: number = SILENCE_LIMIT_MS) {
    this.#clock = clock;
    this.#silenceLimitMs = silenceLimitMs;
  }

  isSilent(record: JobRecord): boolean {
    const sign = `${record.attempt} ${record.workerId ?? ''} ${record.heartbeatAt ?? ''}`;
    const seen = this.#seen.get(record.id);
    if (seen?.sign !== sign) {
      this.#seen.set(record.id, { sign, since: this.#clock.monotonic() });
      return false;
    }
    return this.#clock.monotonic() - seen.since >= this.#silenceLimitMs;
  }

  /** Forgets all jobs but these. */
  retain(jobIds: ReadonlySet<string>): void {
    for (const jobId of this.#seen.keys()) if (!jobIds.has(jobId)) this.#seen.delete(jobId);
  }
}
