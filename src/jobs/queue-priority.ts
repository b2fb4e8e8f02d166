import type { JobRecord } from '../schemas/job.ts';
import { isConcluding } from './record-changes.ts';

/** Above all that clients may ask for. */
const FIRST = 10;

/**
 * Place of a job among the waiting, -1 to 10, highest first. A search brings many trials at once: they stand behind the jobs of
 * their own priority, so that nobody's job waits for a search of somebody else. A canceled search goes first: its client waits,
 * and it only hands out what it has found.
 */
export function queuePriority(record: JobRecord): number {
  if (isConcluding(record)) return FIRST;
  return record.trial === undefined ? record.priority : record.priority - 1;
}
