import { readFile, rm } from 'node:fs/promises';
import type { Logger } from 'pino';
import { CompressionError, messageOf, type ErrorCode, isErrorCode } from '../src/errors.ts';
import type { Attempt, Progress } from '../src/jobs/job-service.ts';
import { CONCLUDING_GRACE_MS, mustConclude, timeLeftMs } from '../src/jobs/search-deadline.ts';
import type { ObjectStore } from '../src/storage/object-store.ts';
import type { JobError, JobSummary } from '../src/schemas/job.ts';
import { NO_TRIALS, TrialLog } from '../src/schemas/trial.ts';
import { errorOfExit, type JobChild } from './child-process.ts';
import type { CostTableFile, CostTableWaiter } from './cost-tables.ts';
import { diskFull } from './disk-full.ts';
import { fetchInputs } from './inputs.ts';
import { JobLog } from './job-log.ts';
import { inside, removeCheckpoint, uploadArtifacts, uploadCheckpoint, type Checkpoint } from './outputs.ts';
import type { ChildMessage, JobTask } from './protocol.ts';

export const HEARTBEAT_MS = 5000;
/** Between two progress events: a fiftieth of the attempt's time so far, within these limits. Each is a write to the store. */
const PROGRESS_EVENT_MS = { least: 500, most: 5000, share: 0.02 };
/** Processor seconds beyond the deadline after which the kernel ends the child even if nobody else does. */
const PROCESSOR_MARGIN_SECONDS = 30;

/** Why a child was ended by us, if it was. */
type Ending = 'cancel' | 'conclude' | 'lost' | 'deadline' | 'shutdown';

export interface AttemptDependencies {
  readonly store: ObjectStore;
  readonly logger: Logger;
  /** The table of that hash, or this machine's own. */
  readonly costTable: (threads: number, hash: string | null, waiter: CostTableWaiter) => Promise<CostTableFile>;
  readonly now: () => number;
  /** How often a long step saves its state. */
  readonly snapshotSeconds: number;
}

/**
 * What became of an attempt, for metrics. `waiting`: it goes on when the trials it asked for have ended; `ready`: they have.
 * `childComputeMs` is the child's own time, when it got to a result. */
export interface AttemptOutcome {
  readonly outcome: 'succeeded' | 'failed' | 'canceled' | 'lost' | 'released' | 'waiting' | 'ready';
  readonly code?: string;
  readonly childComputeMs?: number;
}

/**
 * Supervises one attempt: fetches its inputs, runs the child, keeps the heartbeat, carries checkpoints and artifacts to
 * the store, and ends the child with SIGKILL on cancel, deadline, lost claim or shutdown. It never touches a tensor.
 */
export class AttemptRunner {
  readonly #attempt: Attempt;
  readonly #child: JobChild;
  readonly #deps: AttemptDependencies;
  readonly #log: JobLog;
  #ending: Ending | undefined;
  /** Aborted with #ending: what runs in this process is not waited for any longer. */
  readonly #interruption = new AbortController();
  #progress: Progress;
  /** How far an earlier attempt of a search got: what this one tells on its way there is no news. */
  readonly #told: number;
  #lateProgress: NodeJS.Timeout | undefined;
  readonly #startedAt: number;
  #lastProgressEvent = Number.NEGATIVE_INFINITY;
  #result: Extract<ChildMessage, { type: 'result' }> | undefined;
  #error: Extract<ChildMessage, { type: 'error' }> | undefined;
  /** Path of the log with the trials that the search waits for. */
  #wanted: string | undefined;
  /** This attempt brings a search to its end: that it was asked for is no news. */
  readonly #concluding: boolean;
  /** Checkpoints and events are carried in order, beside the child's work. */
  #carry: Promise<void> = Promise.resolve();
  #carryError: Error | undefined;
  #beating = false;
  /** Asked for a look while a beat was under way, which may have read the record before what it was asked for. */
  #beatAgain = false;
  /** The newest checkpoint, when it was taken in the middle of a step: the next one makes it useless. */
  #replaceable: Checkpoint | undefined;

  constructor(attempt: Attempt, child: JobChild, deps: AttemptDependencies) {
    this.#attempt = attempt;
    this.#child = child;
    this.#deps = deps;
    this.#log = new JobLog(deps.store, `${attempt.prefix}log.jsonl`, deps.now);
    this.#progress = { step: attempt.record.step, progress: attempt.record.progress };
    this.#told = attempt.record.search === undefined ? 0 : attempt.record.progress;
    this.#startedAt = deps.now();
    this.#concluding = mustConclude(attempt.record, this.#startedAt);
  }

  get jobId(): string {
    return this.#attempt.record.id;
  }

  /** Hands the job back: the child is killed, the newest checkpoint stays, no attempt is counted as crashed. */
  shutdown(): void {
    this.#end('shutdown');
  }

  /** Looks at the record now instead of at the next heartbeat (a cancel may have been asked for). */
  poke(): void {
    void this.#beat();
  }

  async run(): Promise<AttemptOutcome> {
    const heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    const deadline = this.#armDeadline();
    try {
      return await this.#supervise();
    } catch (error) {
      return await this.#conclude(error);
    } finally {
      clearInterval(heartbeat);
      clearTimeout(deadline);
      clearTimeout(this.#lateProgress);
      await this.#child.dispose();
    }
  }

  async #supervise(): Promise<AttemptOutcome> {
    const { record } = this.#attempt;
    this.#log.add('info', `attempt ${this.#attempt.number} of job ${record.id} starts`);
    if (this.#concluding) await this.#attempt.cancelTrials();
    const task = await this.#unlessEnded(this.#prepare());
    const allowed = Math.max(record.deadlineSeconds, this.#concluding ? CONCLUDING_GRACE_MS / 1000 : 0);
    const seconds = allowed * record.threads + PROCESSOR_MARGIN_SECONDS;
    this.#child.run(task, (message) => this.#receive(message), seconds);
    const exit = await this.#child.exited;
    clearTimeout(this.#lateProgress);
    await this.#carry;
    this.#throwIfEnding();
    const carryError = this.#failedCarry();
    if (carryError !== undefined) throw carryError;
    if (this.#result !== undefined) return this.#publish(this.#result);
    if (this.#wanted !== undefined) return this.#waitForTrials(this.#wanted);
    if (this.#error !== undefined) throw asError(this.#error);
    throw errorOfExit(exit);
  }

  async #prepare(): Promise<JobTask> {
    const { record } = this.#attempt;
    const costs = await this.#deps.costTable(record.threads, record.costTable, {
      signal: this.#interruption.signal,
      onMeasuring: () => this.#progressEvent('measuring the kernels of this kind of CPU, once for all jobs'),
    });
    if (record.costTable === null) await this.#attempt.pinCostTable(costs.hash);
    const task = await fetchInputs(this.#deps.store, this.#attempt, this.#child.directory, costs.path);
    return { ...task, snapshotSeconds: this.#deps.snapshotSeconds };
  }

  /** Fetching a large input takes longer than a cancel may: when the attempt ends, the work is left behind. */
  async #unlessEnded<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#interruption;
    const interrupted = new Promise<undefined>((resolve) => {
      if (signal.aborted) resolve(undefined);
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    if ((await Promise.race([work.then(() => true), interrupted])) === undefined) {
      // Work left behind may still write into the child's folder: it goes once more when that is over.
      const clear = (): Promise<void> => this.#child.dispose();
      work.then(clear, clear).catch((error: unknown) => {
        this.#deps.logger.warn({ err: error, jobId: this.jobId }, 'a folder was not removed');
      });
    }
    this.#throwIfEnding();
    return work;
  }

  #throwIfEnding(): void {
    if (this.#ending !== undefined) throw new CompressionError('CANCELED', `ended by its supervisor: ${this.#ending}`);
  }

  #failedCarry(): Error | undefined {
    return this.#carryError;
  }

  async #publish(result: Extract<ChildMessage, { type: 'result' }>): Promise<AttemptOutcome> {
    this.#log.add('info', 'uploading the results');
    const artifacts = await uploadArtifacts(
      this.#deps.store,
      this.#attempt.prefix,
      this.#child.directory,
      result.artifacts,
    );
    this.#log.add('info', `attempt ${this.#attempt.number} succeeded`, { computeMs: Math.round(result.computeMs) });
    await this.#log.flush();
    const summary: JobSummary = result.summary;
    const published = await this.#attempt.succeed({ artifacts, summary, verdict: result.verdict });
    return { outcome: published === 'published' ? 'succeeded' : 'lost', childComputeMs: result.computeMs };
  }

  /** The search goes on in another attempt: no worker is held while its trials run, on this one or others. */
  async #waitForTrials(path: string): Promise<AttemptOutcome> {
    const log = TrialLog.parse(JSON.parse(await readFile(inside(this.#child.directory, path), 'utf8')));
    const open = log.entries.filter(({ result }) => result === undefined).length;
    this.#log.add('info', open === 0 ? 'the search needs models of its trials' : `the search asks for ${open} trials`);
    await this.#log.flush();
    return { outcome: await this.#attempt.waitForTrials(log, this.#progress) };
  }

  /** One place that turns an ended attempt without a result into what the record says. */
  async #conclude(error: unknown): Promise<AttemptOutcome> {
    switch (this.#ending) {
      case 'lost':
        return { outcome: 'lost' };
      case 'shutdown':
        await this.#log.flush();
        await this.#attempt.release({ crashed: false, message: 'the worker shuts down', reached: this.#progress });
        return { outcome: 'released' };
      case 'cancel':
        this.#log.add('info', 'canceled');
        await this.#log.flush();
        return { outcome: (await this.#attempt.canceled()) === 'published' ? 'canceled' : 'lost' };
      case 'conclude': {
        this.#log.add('info', 'canceled, or out of time: the search hands out what it has found');
        await this.#log.flush();
        return {
          outcome: await this.#attempt.waitForTrials((await this.#attempt.trials()) ?? NO_TRIALS, this.#progress),
        };
      }
      case 'deadline': {
        const seconds = this.#attempt.record.deadlineSeconds;
        return this.#fail(
          'LIMIT_TIME',
          `the job took longer than its deadlineSeconds (${seconds}); raise it, or make the recipe smaller`,
        );
      }
      case undefined:
        return this.#failWith(error);
    }
  }

  async #failWith(error: unknown): Promise<AttemptOutcome> {
    const known = error instanceof CompressionError ? error : diskFull(error);
    const code: ErrorCode = known?.code ?? 'INTERNAL';
    if (known === undefined) this.#deps.logger.error({ err: error, jobId: this.jobId }, 'attempt failed unexpectedly');
    if (known === undefined || known.retryable) {
      this.#log.add('error', messageOf(error), { code });
      await this.#log.flush();
      // What lies outside the job (store, disk) may pass; a defect or a crash will come again, so the breaker counts it.
      const crashed = code === 'CHILD_CRASH' || code === 'INTERNAL';
      await this.#attempt.release({ crashed, message: messageOf(error), reached: this.#progress });
      return { outcome: 'released', code };
    }
    return this.#fail(code, messageOf(error));
  }

  async #fail(code: ErrorCode, message: string): Promise<AttemptOutcome> {
    this.#log.add('error', message, { code });
    await this.#log.flush();
    const error: JobError = { code, message, step: this.#error?.step ?? this.#progress.step, retryable: false };
    return { outcome: (await this.#attempt.fail(error)) === 'published' ? 'failed' : 'lost', code };
  }

  #receive(message: ChildMessage): void {
    switch (message.type) {
      case 'ready':
        return;
      case 'progress':
        if (message.progress < this.#told) return;
        this.#reached({ step: message.step, progress: message.progress });
        this.#progressEvent(message.message);
        return;
      case 'log':
        this.#log.add(message.level, message.message, message.fields);
        return;
      case 'step': {
        this.#log.add(
          'info',
          `step ${message.index} ${message.pass}: ${message.changes} changes, ${message.skipped} skipped`,
        );
        const { type: _type, ...data } = message;
        this.#tell('job.step', data);
        return;
      }
      case 'checkpoint':
        this.#enqueue(() => this.#keep(message));
        return;
      case 'result':
        this.#result = message;
        return;
      case 'trials':
        this.#wanted = message.path;
        return;
      case 'error':
        this.#error = message;
        return;
    }
  }

  /** The record says at once which step is under way: errors and crashes go by it. How far that is, it says with each heartbeat. */
  #reached(progress: Progress): void {
    const entered = progress.step !== this.#progress.step;
    this.#progress = progress;
    if (entered) void this.#beat();
  }

  #tell(type: 'job.step' | 'job.progress', data: Readonly<Record<string, unknown>>): void {
    const reached = this.#progress;
    this.#enqueue(() => this.#attempt.event(type, data, reached));
  }

  async #keep(message: Checkpoint): Promise<void> {
    const { store } = this.#deps;
    const { prefix } = this.#attempt;
    const saved = await uploadCheckpoint(store, prefix, this.#child.directory, message);
    if ((await this.#attempt.checkpoint(saved, message.holdsResult)) === 'lost') {
      this.#end('lost');
      return;
    }
    // The record names the new one from here on, and whoever takes the job over reads the record first.
    if (this.#replaceable !== undefined) await removeCheckpoint(store, prefix, this.#replaceable);
    this.#replaceable = message.withinStep ? message : undefined;
    if (message.withinStep) await rm(inside(this.#child.directory, message.path), { recursive: true, force: true });
  }

  /** At most one event every so often; of those that come too soon the last is told when its time has come. */
  #progressEvent(message: string | undefined): void {
    clearTimeout(this.#lateProgress);
    const now = this.#deps.now();
    const { least, most, share } = PROGRESS_EVENT_MS;
    const pause = Math.min(most, Math.max(least, share * (now - this.#startedAt)));
    const early = this.#lastProgressEvent + pause - now;
    if (early > 0) {
      this.#lateProgress = setTimeout(() => this.#progressEvent(message), early);
      return;
    }
    this.#lastProgressEvent = now;
    const data = { ...this.#progress, ...(message === undefined ? {} : { message }) };
    this.#tell('job.progress', data);
  }

  #enqueue(work: () => Promise<void>): void {
    this.#carry = this.#carry.then(async () => {
      if (this.#carryError !== undefined || this.#ending === 'lost') return;
      try {
        await work();
      } catch (error) {
        this.#carryError = error instanceof Error ? error : new Error(messageOf(error));
        this.#child.kill();
      }
    });
  }

  async #beat(): Promise<void> {
    if (this.#ending !== undefined) return;
    this.#beatAgain = this.#beating;
    if (this.#beating) return;
    this.#beating = true;
    try {
      do {
        this.#beatAgain = false;
        const answer = await this.#attempt.heartbeat(this.#progress);
        if (answer === 'lost') this.#end(answer);
        if (answer === 'cancel' && !this.#concluding) this.#end(this.#hasFound() ? 'conclude' : 'cancel');
        await this.#log.flush();
      } while (this.#asksAgain());
    } catch (error) {
      // The store may be back at the next beat; if it stays away, another worker's claim ends this attempt.
      this.#deps.logger.warn({ err: error, jobId: this.jobId }, 'heartbeat failed');
    } finally {
      this.#beating = false;
    }
  }

  #asksAgain(): boolean {
    return this.#beatAgain && this.#ending === undefined;
  }

  #armDeadline(): NodeJS.Timeout {
    const left = timeLeftMs(this.#attempt.record, this.#deps.now());
    return setTimeout(
      () => this.#end(this.#hasFound() && !this.#concluding ? 'conclude' : 'deadline'),
      Math.max(0, Math.min(left, 2 ** 31 - 1)),
    );
  }

  /** A search that has asked for trials, or saved a state that holds a result, hands out what there is. */
  #hasFound(): boolean {
    return this.#attempt.record.search !== undefined;
  }

  #end(ending: Ending): void {
    this.#ending ??= ending;
    this.#interruption.abort();
    this.#child.kill();
  }
}

function asError(message: Extract<ChildMessage, { type: 'error' }>): CompressionError {
  const code: ErrorCode = isErrorCode(message.code) ? message.code : 'INTERNAL';
  return new CompressionError(code, message.message);
}
