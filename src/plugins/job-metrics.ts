import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { JobQueue, QueueCounts } from '../jobs/job-queue.ts';

/** Depth and age of the queue, asked when somebody scrapes. A queue that does not answer leaves the figures out. */
export function registerQueueMetrics(registry: Registry, queue: JobQueue): void {
  const jobs = new Gauge<'state'>({
    name: 'tersor_queue_jobs',
    help: 'Entries in the queue: waiting for a worker, or with one',
    labelNames: ['state'] as const,
    registers: [registry],
    async collect() {
      const counts = await countsOf(queue);
      jobs.reset();
      if (counts === undefined) return;
      jobs.set({ state: 'waiting' }, counts.waiting);
      jobs.set({ state: 'active' }, counts.active);
    },
  });
  const oldest: Gauge = new Gauge({
    name: 'tersor_queue_oldest_waiting_seconds',
    help: 'Age of the entry that waits longest; 0 when none waits or the queue cannot tell',
    registers: [registry],
    async collect() {
      oldest.set(((await countsOf(queue))?.oldestWaitingMs ?? 0) / 1000);
    },
  });
}

async function countsOf(queue: JobQueue): Promise<QueueCounts | undefined> {
  try {
    return await queue.counts();
  } catch {
    // The other figures are worth having all the same; /readyz says what is wrong.
    return undefined;
  }
}

/** What a worker tells of each attempt. */
export interface AttemptFigures {
  readonly outcome: string;
  readonly seconds: number;
  readonly passes: readonly string[];
  readonly code?: string;
}

/** Seconds of attempts by pass and outcome, and crashes of children. */
export function attemptMetrics(registry: Registry): (figures: AttemptFigures) => void {
  const seconds = new Histogram({
    name: 'tersor_job_attempt_seconds',
    help: 'Duration of attempts by outcome; an attempt counts once for each pass of its recipe',
    labelNames: ['pass', 'outcome'] as const,
    buckets: [0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14_400],
    registers: [registry],
  });
  const crashes = new Counter({
    name: 'tersor_child_crashes_total',
    help: 'Job children that ended without a result',
    registers: [registry],
  });
  return ({ outcome, seconds: duration, passes, code }) => {
    for (const pass of new Set(passes)) seconds.observe({ pass, outcome }, duration);
    if (code === 'CHILD_CRASH' || code === 'CRASH_LOOP') crashes.inc();
  };
}
