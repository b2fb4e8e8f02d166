import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../src/jobs/clock.ts';
import { createJobs } from '../../src/jobs/create-jobs.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import type { JobEventSink } from '../../src/jobs/job-core.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import type { ArtifactEntry, JobSummary } from '../../src/schemas/job.ts';
import type { NewJob } from '../../src/jobs/job-service.ts';

/** A checked request, small but complete. */
export function newJob(changes: Partial<NewJob> = {}): NewJob {
  return {
    tenant: 'acme',
    model: 'mdl_0123456789abcdef',
    recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] },
    data: {},
    constraints: {},
    target: { cpu: 'portable' },
    threads: 1,
    seed: 0,
    deadlineSeconds: 3600,
    priority: 0,
    metadata: {},
    inputs: { model: 'a'.repeat(64) },
    ...changes,
  };
}

export const ARTIFACT: ArtifactEntry = {
  name: 'model.onnx',
  kind: 'model',
  bytes: 3,
  sha256: 'b'.repeat(64),
  contentType: 'application/octet-stream',
};

export const SUMMARY: JobSummary = {
  bytes: { before: 12, after: 3 },
  accuracy: { before: null, after: null },
  latencyP50Ms: { before: 2, after: 1 },
};

export const RESULT = { artifacts: [ARTIFACT], summary: SUMMARY, verdict: 'none' } as const;

/** Everything a test of jobs needs, on a folder of its own. */
export async function openJobs(options: { readonly silenceLimitMs?: number; readonly onEvent?: JobEventSink } = {}) {
  const root = await mkdtemp(join(tmpdir(), 'tersor-jobs-'));
  const store = new FileSystemStore(root);
  const queue = new InProcessQueue();
  const clock = new TestClock();
  const make = (changes: Partial<Parameters<typeof createJobs>[0]> = {}) =>
    createJobs({ store, queue, clock, ...options, ...changes });
  return {
    root,
    store,
    queue,
    clock,
    /** Another process on the same store. */
    make,
    ...make(),
    stop: async () => {
      await queue.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** Time that passes when a test says so, on top of real time. */
export class TestClock implements Clock {
  #skippedMs = 0;
  #jumpedMs = 0;
  now(): number {
    return Date.now() + this.#skippedMs + this.#jumpedMs;
  }
  monotonic(): number {
    return performance.now() + this.#skippedMs;
  }
  pass(ms: number): void {
    this.#skippedMs += ms;
  }
  /** The wall clock is set, no time passes. */
  jump(ms: number): void {
    this.#jumpedMs += ms;
  }
}
