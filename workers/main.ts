import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../src/errors.ts';
import type { Attempt, JobClaims } from '../src/jobs/job-service.ts';
import type { Consumer, JobQueue } from '../src/jobs/job-queue.ts';
import type { ObjectStore } from '../src/storage/object-store.ts';
import { AttemptRunner, type AttemptOutcome } from './attempt-runner.ts';
import { JobChild, type ChildOptions } from './child-process.ts';
import { CostTables } from './cost-tables.ts';
import { probeSandbox } from './sandbox.ts';

export interface WorkerDependencies {
  readonly store: ObjectStore;
  readonly queue: JobQueue;
  readonly claims: JobClaims;
  readonly logger: Logger;
  /** Jobs at once. */
  readonly concurrency: number;
  readonly memoryBytes: number;
  /** How often a long step saves its state, in seconds of work; default 120. */
  readonly snapshotSeconds?: number;
  /** Absolute folders that job children must not see. */
  readonly hidden?: readonly string[];
  /** Called after each attempt, for metrics. */
  readonly onOutcome?: (
    outcome: AttemptOutcome & { readonly seconds: number; readonly passes: readonly string[] },
  ) => void;
}

export interface Worker {
  readonly id: string;
  /** Takes no new job, kills the children, hands their jobs back; resolves when that is done (a few seconds). */
  close(): Promise<void>;
}

const FOLDER = 'tersor-worker-';
/** Before a job that failed for the moment is tried again. */
const RETRY_PAUSE_MS = 1000;
const SNAPSHOT_SECONDS = 120;

/** Largest file a child may write: a model of 2 GiB and its external data. */
const CHILD_FILE_BYTES = 32 * 2 ** 30;

/** A job on its way to a runner, and whether its record has changed since. */
interface Start {
  readonly jobId: string;
  changed: boolean;
}

interface Begun {
  readonly attempt: Attempt;
  readonly runner: AttemptRunner;
  readonly jobLogger: Logger;
  readonly started: number;
}

/** Starts the worker parent: claims jobs, moves files, supervises children. Never loads ONNX Runtime. */
export async function startWorker(deps: WorkerDependencies): Promise<Worker> {
  const id = `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  const root = join(tmpdir(), `${FOLDER}${id}`);
  await sweepDeadWorkers(deps.logger);
  const sandbox = probeSandbox();
  const limits = { memoryBytes: deps.memoryBytes, fileBytes: CHILD_FILE_BYTES };
  const child: ChildOptions = { sandbox, limits, root, hidden: deps.hidden ?? [] };
  const logger = deps.logger.child({ workerId: id });
  logger.info({ sandbox, concurrency: deps.concurrency }, 'worker starts');
  const missing = Object.entries(sandbox).filter(([, there]) => !there);
  if (missing.length > 0)
    logger.warn({ missing: missing.map(([name]) => name) }, 'this machine lacks layers of the sandbox');

  const costTables = new CostTables({ store: deps.store, child, logger, folder: join(root, 'cost-tables') });
  const spare = new SpareChild(child);
  spare.prepare();
  const running = new Map<string, AttemptRunner>();
  const starting = new Set<Start>();
  let closing = false;

  /** Claims the job and gives it a child, which may take a second to start; what is told meanwhile reaches the runner. */
  const begin = async (jobId: string): Promise<Begun | undefined> => {
    const start = { jobId, changed: false };
    starting.add(start);
    try {
      const attempt = await deps.claims.claim(jobId, id);
      if (attempt === undefined) return undefined;
      const jobLogger = logger.child({ jobId, tenant: attempt.record.tenant, attempt: attempt.number });
      const started = performance.now();
      const runner = new AttemptRunner(attempt, await childFor(attempt), {
        store: deps.store,
        logger: jobLogger,
        costTable: (threads, hash, waiter) => costTables.get(threads, hash, waiter),
        now: Date.now,
        snapshotSeconds: deps.snapshotSeconds ?? SNAPSHOT_SECONDS,
      });
      running.set(jobId, runner);
      if (isClosing()) runner.shutdown();
      else if (start.changed) runner.poke();
      return { attempt, runner, jobLogger, started };
    } finally {
      starting.delete(start);
    }
  };
  const childFor = async (attempt: Attempt): Promise<JobChild> => {
    try {
      return await spare.take();
    } catch (error) {
      await attempt.release({ crashed: false, message: `no child could be started: ${messageOf(error)}` });
      throw error;
    }
  };

  const handle = async (jobId: string, signal: AbortSignal): Promise<'done' | 'requeue'> => {
    if (closing) return 'requeue';
    const begun = await begin(jobId);
    if (begun === undefined) return 'done';
    const { attempt, runner, jobLogger, started } = begun;
    // The queue lost its lock (Redis was flushed, say); the record tells whether the attempt still owns the job.
    const onAbort = (): void => runner.poke();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      jobLogger.info('attempt starts');
      const ending = runner.run();
      // The next one loads while this job measures its input model, and is ready however soon the next job comes.
      if (!isClosing()) spare.prepare();
      const outcome = await ending;
      const seconds = (performance.now() - started) / 1000;
      jobLogger.info({ ...outcome, seconds }, 'attempt ended');
      deps.onOutcome?.({ ...outcome, seconds, passes: attempt.record.recipe.steps.map((step) => step.pass) });
      if (outcome.outcome === 'ready') return 'requeue';
      if (outcome.outcome !== 'released') return 'done';
      // Whatever made it fail needs a moment to pass; a shutdown does not wait.
      if (outcome.code !== undefined && !isClosing()) await delay(RETRY_PAUSE_MS);
      return 'requeue';
    } finally {
      running.delete(jobId);
      signal.removeEventListener('abort', onAbort);
    }
  };
  const isClosing = (): boolean => closing;

  // Events are of the attempt's own telling: only a changed record may ask something of it.
  const unsubscribe = await deps.queue.subscribe((jobId, change) => {
    if (change !== 'record') return;
    running.get(jobId)?.poke();
    for (const start of starting) if (start.jobId === jobId) start.changed = true;
  });
  const consumer: Consumer = await deps.queue.consume(({ jobId, signal }) => handle(jobId, signal), {
    concurrency: deps.concurrency,
  });

  return {
    id,
    async close() {
      closing = true;
      for (const runner of running.values()) runner.shutdown();
      await consumer.close();
      await unsubscribe();
      await spare.dispose();
      await costTables.close();
      await rm(root, { recursive: true, force: true });
      logger.info('worker stopped');
    },
  };
}

/** Removes the folders of workers of this machine that were killed: models and data sets lie in them. */
async function sweepDeadWorkers(logger: Logger): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const [pid] = name.startsWith(FOLDER) ? name.slice(`${FOLDER}${hostname()}-`.length).split('-') : [];
    if (pid === undefined || !name.startsWith(`${FOLDER}${hostname()}-`) || !/^[0-9]+$/.test(pid)) continue;
    if (isAlive(Number(pid))) continue;
    logger.info({ folder: name }, 'removing the folder of a worker that was killed');
    await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Keeps one started child waiting, so that a job does not wait for Node.js and ONNX Runtime to load. */
class SpareChild {
  readonly #options: ChildOptions;
  #waiting: Promise<JobChild> | undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  prepare(): void {
    this.#waiting ??= JobChild.start(this.#options);
    this.#waiting.catch(() => {
      this.#waiting = undefined; // the next take tries again and reports the error
    });
  }

  async take(): Promise<JobChild> {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    const child = await (waiting ?? JobChild.start(this.#options));
    return child.alive ? child : JobChild.start(this.#options);
  }

  async dispose(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    await (await waiting)?.dispose();
  }
}
