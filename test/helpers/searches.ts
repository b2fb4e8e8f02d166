import assert from 'node:assert/strict';
import type { Attempt, NewJob } from '../../src/jobs/job-service.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { TRIAL_RESULT, type TrialLog, type TrialResult, type TrialSpec } from '../../src/schemas/trial.ts';
import { newJob, RESULT, type openJobs } from './jobs.ts';

type Fixture = Awaited<ReturnType<typeof openJobs>>;

/** What a trial runs; another `level`, another trial. */
export function specOf(level: number, changes: Partial<TrialSpec> = {}): TrialSpec {
  return {
    model: 'mdl_0123456789abcdef',
    recipe: { version: 1, steps: [{ pass: 'prune.channels', level }] },
    measure: 'light',
    seed: 0,
    ...changes,
  };
}

export function logOf(...specs: readonly TrialSpec[]): TrialLog {
  return { version: 1, entries: specs.map((spec) => ({ spec })) };
}

/** Searches as their attempts see them, on jobs without workers. */
export class Searches {
  readonly #jobs: Fixture;
  readonly tenant: string;

  constructor(jobs: Fixture, tenant = 'acme') {
    this.#jobs = jobs;
    this.tenant = tenant;
  }

  /** The attempt of a new job that searches, before it asks for anything. */
  async begin(changes: Partial<NewJob> = {}): Promise<Attempt> {
    const { record } = await this.#jobs.service.submit(newJob({ tenant: this.tenant, ...changes }));
    const attempt = await this.claim(record.id);
    await attempt.pinCostTable('table');
    return attempt;
  }

  /** A new job that waits for these trials. */
  async waiting(specs: readonly TrialSpec[], changes: Partial<NewJob> = {}): Promise<JobRecord> {
    const attempt = await this.begin(changes);
    assert.equal(await attempt.waitForTrials(logOf(...specs)), 'waiting');
    return this.record(attempt.record.id);
  }

  async claim(jobId: string): Promise<Attempt> {
    const attempt = await this.#jobs.claims.claim(jobId, 'worker');
    assert.ok(attempt, `${jobId} is not to be had`);
    return attempt;
  }

  async record(jobId: string): Promise<JobRecord> {
    const record = await this.#jobs.service.get(this.tenant, jobId);
    assert.ok(record, `${jobId} is not there`);
    return record;
  }

  async status(jobId: string): Promise<JobRecord['status']> {
    return (await this.record(jobId)).status;
  }

  /** Runs a trial to its end. */
  async finish(jobId: string, result: Partial<TrialResult> = { accuracy: 0.5 }): Promise<void> {
    const attempt = await this.claim(jobId);
    const body = Buffer.from(JSON.stringify({ status: 'succeeded', ...result }));
    await this.#jobs.store.put(attempt.prefix + TRIAL_RESULT, body);
    assert.equal(await attempt.succeed(RESULT), 'published');
  }

  async fail(jobId: string, code = 'MODEL_RUN'): Promise<void> {
    const attempt = await this.claim(jobId);
    await attempt.fail({ code, message: `ended with ${code}`, step: null, retryable: false });
  }
}
