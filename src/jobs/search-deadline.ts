import type { JobRecord } from '../schemas/job.ts';

/** Share of a search's time that is kept for handing out what it found, and the most of it. */
const CONCLUDING_SHARE = 0.1;
const CONCLUDING_LIMIT_MS = 120_000;
/** Beyond its deadline, or a cancel, a search may take this long to hand out what it found. */
export const CONCLUDING_GRACE_MS = 120_000;

/** The search has to come to its end with what there is: that was asked for, or its deadline is near. */
export function mustConclude(record: JobRecord, nowMs: number): boolean {
  if (record.search === undefined) return false;
  if (record.status === 'canceling') return true;
  if (record.deadlineAt === null) return false;
  const kept = Math.min(record.deadlineSeconds * 1000 * CONCLUDING_SHARE, CONCLUDING_LIMIT_MS);
  return nowMs >= Date.parse(record.deadlineAt) - kept;
}

/** Milliseconds until an attempt that starts now has taken too long. */
export function timeLeftMs(record: JobRecord, nowMs: number): number {
  const left = record.deadlineAt === null ? record.deadlineSeconds * 1000 : Date.parse(record.deadlineAt) - nowMs;
  if (!mustConclude(record, nowMs)) return left;
  // Who cancels waits for what was found, not for all that the recipe would do with it.
  return record.status === 'canceling' ? CONCLUDING_GRACE_MS : Math.max(left, 0) + CONCLUDING_GRACE_MS;
}
