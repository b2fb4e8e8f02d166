import type {
  JobError,
  JobEventType,
  JobRecord,
  JobStatus,
  JobSummary,
  Manifest,
  ArtifactEntry,
} from '../schemas/job.ts';
import type { TrialLog } from '../schemas/trial.ts';

/** One entry of a job's event log. `id` rises by one; SSE sends it as the event id. */
export interface JobEvent {
  readonly id: number;
  readonly type: JobEventType;
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A checked request, ready to be stored: recipe resolved, data roles known, limits filled. */
export type NewJob = Pick<
  JobRecord,
  | 'tenant'
  | 'model'
  | 'recipe'
  | 'data'
  | 'preprocess'
  | 'constraints'
  | 'target'
  | 'threads'
  | 'seed'
  | 'deadlineSeconds'
  | 'priority'
  | 'webhook'
  | 'metadata'
  | 'inputs'
>;

/** What a list of jobs shows: those that are no trials, unless asked otherwise. */
export interface JobQuery {
  readonly status?: JobStatus;
  readonly model?: string;
  readonly limit: number;
  readonly cursor?: string;
  /** The trials of this search instead, in the order it asked for them. */
  readonly parent?: string;
  /** The trials of all searches instead. */
  readonly trials?: boolean;
}

export interface JobPage {
  readonly items: readonly JobRecord[];
  readonly nextCursor: string | null;
}

/** What the HTTP side asks of the jobs folder. Another tenant's job is not there (undefined / NOT_FOUND). */
export interface JobService {
  /** Record, pending marker, event, then enqueue; the job exists once this resolves, whatever the queue does. */
  submit(
    job: NewJob,
    idempotency?: { readonly key: string; readonly bodySha256: string },
  ): Promise<{ record: JobRecord; replayed: boolean }>;
  get(tenant: string, jobId: string): Promise<JobRecord | undefined>;
  /**
   * Newest first. A page with a filter looks at 500 jobs at most, so it may hold fewer than `limit`, or none, and still
   * have a `nextCursor`. @throws QUERY_INVALID for a cursor that is no job id
   */
  list(tenant: string, query: JobQuery): Promise<JobPage>;
  /** Ids of the tenant's jobs that are not terminal, without trials, at most `limit` of them, read from the pending markers. */
  activeIds(tenant: string, limit: number): Promise<readonly string[]>;
  /** queued -> canceled at once; running -> canceling; terminal -> unchanged. A search ends with what it has found. */
  cancel(tenant: string, jobId: string): Promise<JobRecord>;
  /** Removes a terminal job with everything it made, of a search the trials that it made too. @throws CONFLICT while it runs */
  remove(tenant: string, jobId: string): Promise<void>;
  /** Events with an id above `after`, in order, at most 1000 a call; the first is `job.queued` with id 1. */
  events(tenant: string, jobId: string, after: number): Promise<readonly JobEvent[]>;
  /**
   * Resolves when the job's record or events may have changed, or after `timeoutMs`. Call it before reading what you
   * wait for and await it after, or a change in between is missed until the timeout.
   */
  waitForChange(jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<void>;
  /** What a job with a result consists of: one that succeeded, or a search that had found something when it was canceled. */
  manifest(tenant: string, jobId: string): Promise<Manifest | undefined>;
  position(jobId: string): Promise<number | null>;
}

/** What a worker parent asks: everything fenced by the attempt's number. */
export interface JobClaims {
  /**
   * Compare-and-set of a queued job to `running`, attempt + 1. Undefined when there is nothing to run: terminal, unknown,
   * past its deadline (failed here), or held by an attempt. An attempt that fell silent (no heartbeat for 15 s, as this
   * process saw it) is ended first: by the reconciler, or here.
   */
  claim(jobId: string, workerId: string): Promise<Attempt | undefined>;
}

/** How far a job is. */
export interface Progress {
  /** Of the recipe; null: none of them. */
  readonly step: number | null;
  /** 0..1. */
  readonly progress: number;
}

export interface Attempt {
  readonly record: JobRecord;
  readonly number: number;
  /** Prefix in the store for what this attempt writes: `attemptPrefix()` of job-keys.ts. */
  readonly prefix: string;
  /** Sign of life, every 5 s, with progress; answers what the record wants. `lost`: another attempt owns it, stop and publish nothing. */
  heartbeat(progress: Progress): Promise<'continue' | 'cancel' | 'lost'>;
  /**
   * Appends to the event log (not terminal events: those follow the record); dropped when the job is lost.
   *
   * @param reached - how far the job is by now: whoever is told of the event may be told so, too
   */
  event(type: JobEventType, data: Readonly<Record<string, unknown>>, reached?: Progress): Promise<void>;
  /**
   * Remembers a checkpoint already written under `prefix`.
   *
   * @param holdsResult - of a search within its step: from now on its end, when it is asked for, hands out what was found
   */
  checkpoint(
    checkpoint: { key: string; steps: number; sha256: string },
    holdsResult?: boolean,
  ): Promise<'continue' | 'lost'>;
  pinCostTable(hash: string): Promise<void>;
  /** Of a job that searches: the trials asked for so far, with the results of those that are over. */
  trials(): Promise<TrialLog | undefined>;
  /**
   * Ends the attempt until the trials of the log have ended, jobs made for those that have none. `ready`: they have ended
   * already, answer `requeue` to the queue. A job in `canceling` is `ready` at once: its next attempt concludes the search.
   *
   * @param reached - what the job shows meanwhile; as it was unless given
   */
  waitForTrials(log: TrialLog, reached?: Progress): Promise<'waiting' | 'ready' | 'lost'>;
  /** Files of the model that a trial made, each with its key in the store. @throws INPUT_NOT_FOUND */
  modelOfTrial(
    jobId: string,
  ): Promise<readonly { readonly name: string; readonly key: string; readonly sha256: string }[]>;
  /** Asks for the end of the trials that this job waits for, where no other job asked for them first. */
  cancelTrials(): Promise<void>;
  /**
   * Manifest if absent, then the record; `lost` when another attempt owns the job, or its end was asked for before (it
   * is canceled then): nothing is published.
   */
  succeed(result: {
    artifacts: readonly ArtifactEntry[];
    summary: JobSummary;
    verdict: 'met' | 'missed' | 'none';
  }): Promise<'published' | 'lost'>;
  /** A job whose end was asked for ends as canceled all the same. */
  fail(error: JobError): Promise<'published' | 'lost'>;
  /** @throws INTERNAL when nobody asked for the end */
  canceled(): Promise<'published' | 'lost'>;
  /**
   * Back to queued (shutdown, retryable crash); answer `requeue` to the queue afterwards. `crashed` counts: the second
   * crash ends the job as failed with CRASH_LOOP. A job in `canceling` ends as canceled.
   */
  release(reason: { crashed: boolean; message: string; reached?: Progress }): Promise<void>;
}
