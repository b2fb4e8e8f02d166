const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * Time before each attempt, counted from the end of the one before: three days in ten attempts.
 * Source: the schedule that the Standard Webhooks specification recommends.
 */
const RETRY_DELAYS_MS: readonly number[] = [
  0,
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
];
export const MAX_ATTEMPTS = RETRY_DELAYS_MS.length;

/** Spreads the retries of an outage, so that they do not all come at the moment it ends. */
const JITTER = 0.2;
const MAX_RETRY_AFTER_MS = 24 * HOUR;

/**
 * Time until the next attempt.
 *
 * @param made - attempts made so far, 1 at least
 * @param rng - 0 (inclusive) to 1 (exclusive)
 * @returns undefined when no attempt is left
 */
export function retryDelayMs(made: number, rng: () => number): number | undefined {
  const delay = RETRY_DELAYS_MS[made];
  return delay === undefined ? undefined : Math.round(delay * (1 - JITTER + 2 * JITTER * rng()));
}

/** What a Retry-After header asks for (seconds, or an HTTP date), 24 hours at most; 0 when it cannot be read. */
export function retryAfterMs(header: string | undefined, nowMs: number): number {
  if (header === undefined) return 0;
  const text = header.trim();
  const asked = /^[0-9]+$/.test(text) ? Number(text) * SECOND : Date.parse(text) - nowMs;
  return Number.isNaN(asked) ? 0 : Math.min(Math.max(asked, 0), MAX_RETRY_AFTER_MS);
}
