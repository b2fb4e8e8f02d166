import type { ObjectStore } from '../storage/object-store.ts';
import { StoreJobClaims } from './claims.ts';
import { SYSTEM_CLOCK } from './clock.ts';
import type { Clock } from './clock.ts';
import { JobCore } from './job-core.ts';
import type { JobEventSink } from './job-core.ts';
import { createJobIds } from './job-ids.ts';
import type { JobIds } from './job-ids.ts';
import { SILENT_LOG } from './job-log.ts';
import type { JobLog } from './job-log.ts';
import type { JobQueue } from './job-queue.ts';
import type { JobClaims, JobService } from './job-service.ts';
import { SILENCE_LIMIT_MS } from './liveness.ts';
import { Reconciler } from './reconciler.ts';
import type { ReconcilerOptions } from './reconciler.ts';
import { StoreJobService } from './store-job-service.ts';

export interface Jobs {
  /** For the HTTP side. */
  readonly service: JobService;
  /** For workers. */
  readonly claims: JobClaims;
  /** Every process that submits or runs jobs starts one. */
  createReconciler(options?: ReconcilerOptions): Reconciler;
  /** Wakes all who wait. Store and queue stay open: they are the caller's. */
  close(): Promise<void>;
}

/** The jobs folder, put together over a store and a queue. */
export function createJobs(parts: {
  readonly store: ObjectStore;
  readonly queue: JobQueue;
  readonly clock?: Clock;
  readonly ids?: JobIds;
  readonly log?: JobLog;
  /** Webhooks hang here; see JobEventSink. */
  readonly onEvent?: JobEventSink;
  /** Silence after which an attempt counts as dead; default 15 s. Three times the heartbeats' interval at least. */
  readonly silenceLimitMs?: number;
}): Jobs {
  const clock = parts.clock ?? SYSTEM_CLOCK;
  const core = new JobCore({
    store: parts.store,
    queue: parts.queue,
    clock,
    ids: parts.ids ?? createJobIds(clock),
    log: parts.log ?? SILENT_LOG,
    onEvent: parts.onEvent ?? (() => Promise.resolve()),
    silenceLimitMs: parts.silenceLimitMs ?? SILENCE_LIMIT_MS,
  });
  return {
    service: new StoreJobService(core),
    claims: new StoreJobClaims(core),
    createReconciler: (options) => new Reconciler(core, options),
    close: () => core.watch.close(),
  };
}
