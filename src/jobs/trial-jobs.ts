import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { CompressionError } from '../errors.ts';
import type { JobRecord } from '../schemas/job.ts';
import { JobId } from '../schemas/common.ts';
import { TRIAL_RESULT, TrialLog, TrialResult, type TrialSpec } from '../schemas/trial.ts';
import { VERSION } from '../version.ts';
import { mapConcurrently } from './concurrency.ts';
import { createRecord } from './create-record.ts';
import type { JobCore } from './job-core.ts';
import { attemptPrefix, trialKey } from './job-keys.ts';
import { decodeJson, encodeJson } from './job-records.ts';
import { cancelRequested, isTerminal, newRecord } from './record-changes.ts';
import { mustConclude } from './search-deadline.ts';

/** At `trialKey`: which job runs a trial, or has run it. */
export const KnownTrial = z.object({ job: JobId });
const MAX_TRIES = 50;
const CONCURRENCY = 16;
/** Between the claim to a trial and its record lie two writes: whoever comes in between gives them so long. */
const MAKER_LOOKS = 20;
const MAKER_LOOK_MS = 50;
/** Ends that say nothing about the trial itself: who asks anew gets another try. */
const PASSING_CODES: ReadonlySet<string> = new Set(['LIMIT_TIME', 'CRASH_LOOP', 'OVERLOADED']);

/**
 * The trials of searches: jobs of their own in the same queue, made once for each content (what is run, on which data, how),
 * across all jobs of a tenant.
 */
export class TrialJobs {
  readonly #core: JobCore;

  constructor(core: JobCore) {
    this.#core = core;
  }

  /** Everything that a search has asked for, as it was stored last. @throws CompressionError INTERNAL when it is not there */
  async read({ search }: JobRecord): Promise<TrialLog | undefined> {
    if (search === undefined) return undefined;
    const found = await this.#core.store.get(search.key);
    if (found === undefined || createHash('sha256').update(found.body).digest('hex') !== search.sha256) {
      throw new CompressionError('INTERNAL', `object ${search.key} is not the log of trials that the record names`);
    }
    return TrialLog.parse(decodeJson(search.key, found.body));
  }

  /** The log with a job for every trial that has no result yet, and the results of those that are over by now. */
  async ask(parent: JobRecord, log: TrialLog): Promise<TrialLog> {
    const entries = await mapConcurrently(log.entries, CONCURRENCY, async (entry) => {
      if (entry.result !== undefined) return entry;
      const job = entry.job ?? (await this.#ensure(parent, entry.spec));
      const result = await this.resultOf(parent.tenant, job);
      return { ...entry, job, ...(result === undefined ? {} : { result }) };
    });
    return { version: 1, entries };
  }

  /**
   * The log with the results of what is over by now. A trial that is gone or was canceled loses its job, and one whose model is
   * wanted its result too: it is asked for anew.
   */
  async collect(tenant: string, log: TrialLog): Promise<TrialLog> {
    const entries = await mapConcurrently(log.entries, CONCURRENCY, async (entry) => {
      const { spec, job, result, fetch } = entry;
      if (job === undefined) return entry;
      if (result !== undefined) {
        const lost = fetch === true && (await this.#core.records.read(tenant, job)) === undefined;
        return lost ? { spec, fetch } : entry;
      }
      const found = await this.resultOf(tenant, job);
      if (found !== undefined) return { ...entry, result: found };
      if (!(await this.isOver(tenant, job))) return entry;
      const { job: _gone, ...rest } = entry;
      return rest;
    });
    return { version: 1, entries };
  }

  /** Undefined while it runs, and for a trial that was canceled or removed. */
  async resultOf(tenant: string, jobId: string): Promise<TrialResult | undefined> {
    const record = (await this.#core.records.read(tenant, jobId))?.record;
    if (record?.status === 'failed') {
      const { code, message } = record.error ?? { code: 'INTERNAL', message: 'no reason is known' };
      return { status: 'failed', error: { code, message } };
    }
    if (record?.status !== 'succeeded') return undefined;
    const key = attemptPrefix(tenant, jobId, record.attempt) + TRIAL_RESULT;
    const found = await this.#core.store.get(key);
    return found === undefined ? undefined : TrialResult.parse(decodeJson(key, found.body));
  }

  /** Files of the model that a trial made. @throws CompressionError INPUT_NOT_FOUND */
  async modelOf(tenant: string, jobId: string): Promise<{ name: string; key: string; sha256: string }[]> {
    const record = (await this.#core.records.read(tenant, jobId))?.record;
    const manifest = record === undefined ? undefined : await this.#core.readManifest(record);
    if (record === undefined || manifest === undefined)
      throw new CompressionError('INPUT_NOT_FOUND', `trial ${jobId} was removed while a search needed its model`);
    const prefix = attemptPrefix(tenant, jobId, record.attempt);
    return manifest.artifacts
      .filter(({ kind }) => kind === 'model' || kind === 'external-data')
      .map(({ name, sha256 }) => ({ name, sha256, key: prefix + name }));
  }

  /** Of the trials that a search waits for: how many are over, in whatever way, and how many of them have a result. */
  async ended(tenant: string, jobIds: readonly string[]): Promise<{ readonly over: number; readonly done: number }> {
    const statuses = await mapConcurrently(
      jobIds,
      CONCURRENCY,
      async (id) => (await this.#core.records.read(tenant, id))?.record.status ?? 'canceled',
    );
    return {
      over: statuses.filter((status) => isTerminal(status)).length,
      done: statuses.filter((status) => status === 'succeeded' || status === 'failed').length,
    };
  }

  /** Ended in whatever way, or not there any longer. */
  async isOver(tenant: string, jobId: string): Promise<boolean> {
    const found = await this.#core.records.read(tenant, jobId);
    return found === undefined || isTerminal(found.record.status);
  }

  async allOver(tenant: string, jobIds: readonly string[]): Promise<boolean> {
    // From the end, since those asked for last end last: mostly the first look tells.
    for (let end = jobIds.length; end > 0; end -= CONCURRENCY) {
      const some = jobIds.slice(Math.max(0, end - CONCURRENCY), end);
      const over = await mapConcurrently(some, CONCURRENCY, (id) => this.isOver(tenant, id));
      if (!over.every(Boolean)) return false;
    }
    return true;
  }

  /** The search that asked for this trial first has ended, or is about to: nobody needs it, and who does asks anew. */
  async isUnwanted({ tenant, trial }: JobRecord, nowMs: number): Promise<boolean> {
    if (trial === undefined) return false;
    const parent = (await this.#core.records.read(tenant, trial.parent))?.record;
    if (parent === undefined || isTerminal(parent.status)) return true;
    return parent.status === 'canceling' || mustConclude(parent, nowMs);
  }

  /** Asks for the end of those trials that this search made and that still wait or run. */
  async cancel(parent: JobRecord): Promise<void> {
    const at = this.#core.timestamp();
    await mapConcurrently(parent.search?.waiting ?? [], CONCURRENCY, async (id) => {
      const result = await this.#core.records.update(parent.tenant, id, (record) =>
        record.trial?.parent === parent.id ? cancelRequested(record, at) : undefined,
      );
      if (result?.changed !== true) return;
      if (isTerminal(result.record.status)) {
        this.#core.dequeue(id);
        await this.#core.trySettle(result.record);
      } else this.#core.watch.changed(id, 'record');
    });
  }

  /** The job that runs this trial, or has run it: known by content, made if there is none. */
  async #ensure(parent: JobRecord, spec: TrialSpec): Promise<string> {
    const { store, ids, records } = this.#core;
    const hash = contentOf(parent, spec);
    const key = trialKey(parent.tenant, hash);
    let looks = 0;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const id = ids.trialId();
      const found = await store.get(key);
      if (found === undefined) {
        if (!(await store.put(key, encodeJson({ job: id }), { ifAbsent: true })).ok) continue;
        return this.#make(parent, spec, hash, id);
      }
      const known = KnownTrial.parse(decodeJson(key, found.body)).job;
      const record = (await records.read(parent.tenant, known))?.record;
      if (record !== undefined && isOfUse(record)) return known;
      if (record === undefined && looks++ < MAKER_LOOKS) {
        await delay(MAKER_LOOK_MS);
        continue;
      }
      // Canceled, removed, ended for a reason that passes, or its maker died before the record was written.
      if (!(await store.put(key, encodeJson({ job: id }), { ifMatch: found.etag })).ok) continue;
      return this.#make(parent, spec, hash, id);
    }
    throw new CompressionError('OBJECT_STORE_UNAVAILABLE', 'a trial did not come to rest; try again');
  }

  async #make(parent: JobRecord, spec: TrialSpec, hash: string, id: string): Promise<string> {
    const { evaluation, ...roles } = parent.data;
    const { evaluationSamples } = spec;
    const record = newRecord(
      {
        tenant: parent.tenant,
        model: spec.model,
        recipe: spec.recipe,
        data: {
          ...roles,
          ...(evaluation === undefined
            ? {}
            : { evaluation: { ...evaluation, ...fewer(evaluation.samples, evaluationSamples) } }),
        },
        ...(parent.preprocess === undefined ? {} : { preprocess: parent.preprocess }),
        constraints: parent.constraints,
        target: parent.target,
        threads: parent.threads,
        seed: spec.seed,
        deadlineSeconds: parent.deadlineSeconds,
        priority: parent.priority,
        metadata: {},
        inputs: parent.inputs,
        trial: { parent: parent.id, measure: spec.measure, hash },
      },
      { id, at: this.#core.timestamp(), idempotencyKey: null },
    );
    // The same table for all trials: estimates of time do not depend on where a trial runs.
    await createRecord(this.#core, { ...record, costTable: parent.costTable });
    return id;
  }
}

function fewer(samples: number | undefined, limit: number | undefined): { samples?: number } {
  const fewest = Math.min(samples ?? Number.POSITIVE_INFINITY, limit ?? Number.POSITIVE_INFINITY);
  return Number.isFinite(fewest) ? { samples: fewest } : {};
}

function isOfUse(record: JobRecord): boolean {
  if (record.status === 'canceled' || record.status === 'canceling') return false;
  return record.status !== 'failed' || !PASSING_CODES.has(record.error?.code ?? '');
}

/** Everything that a trial's result follows from. */
function contentOf(parent: JobRecord, spec: TrialSpec): string {
  const { data, preprocess, target, threads, inputs, costTable, constraints } = parent;
  // Steps go by the drop of accuracy that is allowed; the other limits only judge what was measured in full.
  const { maxAccuracyDrop } = constraints;
  const judged = spec.measure === 'full' ? constraints : { maxAccuracyDrop };
  const given = { spec, data, preprocess, target, threads, inputs, costTable, judged };
  const content = canonicalJson({ version: VERSION, ...given });
  return createHash('sha256').update(content).digest('hex');
}
