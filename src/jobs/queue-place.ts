import type { JobRecord } from '../schemas/job.ts';
import type { QueuePlace } from './job-queue.ts';
import { isConcluding } from './record-changes.ts';

/**
 * A search brings many trials at once: they stand behind the tenant's jobs of their own priority. A search that goes on takes no turn
 * beside those of its trials. A canceled one goes ahead of all: its client waits, and it only hands out what it has found.
 */
export function queuePlace(record: JobRecord): QueuePlace {
  const { tenant, trial, search } = record;
  const priority = trial === undefined ? record.priority : record.priority - 1;
  if (isConcluding(record)) return { tenant, priority, turn: 'ahead' };
  return { tenant, priority, turn: search === undefined ? 'own' : 'shared' };
}
