import type { JobRecord } from '../schemas/job.ts';

/**
 * Place of a job among the waiting, -1 to 10, highest first. A search brings many trials at once: they stand behind the jobs of
 * their own priority, so that nobody's job waits for a search of somebody else.
 */
export function queuePriority({ priority, trial }: Pick<JobRecord, 'priority' | 'trial'>): number {
  return trial === undefined ? priority : priority - 1;
}
