import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import type { JobRecord } from '../schemas/job.ts';
import type { Clock } from './clock.ts';
import type { JobCore } from './job-core.ts';
import { idempotencyKey } from './job-keys.ts';
import { decodeJson, encodeJson } from './job-records.ts';

/** A key names its job for this long. */
const IDEMPOTENCY_TTL_MS = 24 * 3600 * 1000;
/** A key whose job is not stored after this long belongs to a request that died; the next one finishes its work. */
const ABANDONED_MS = 10_000;
/** How long a request with the key of another one at work waits for that one's job before it answers 409. */
const IN_FLIGHT_PATIENCE_MS = 1_000;
const IN_FLIGHT_POLL_MS = 25;
const MAX_TRIES = 50;

const KeyRecord = z.object({ bodySha256: z.string(), jobId: z.string(), createdAt: z.iso.datetime() });
type KeyRecord = z.infer<typeof KeyRecord>;

export interface IdempotentRequest {
  readonly key: string;
  readonly bodySha256: string;
}

/** Which job id a request shall use: a new one, that of a request which died on the way, or it is answered already. */
export type KeyDecision = { readonly jobId: string } | { readonly replay: JobRecord };

/**
 * Remembers under (tenant, key) which job answers, before that job's record is stored. Whoever repeats the request comes
 * to the same job id, and the record is made if absent, so one key never makes two jobs.
 */
export class IdempotencyKeys {
  readonly #core: JobCore;

  constructor(core: JobCore) {
    this.#core = core;
  }

  /**
   * @throws CompressionError IDEMPOTENCY_KEY_REUSED when the key came with another body; IDEMPOTENCY_IN_FLIGHT when the
   * request that came first is still at work
   */
  async decide(tenant: string, request: IdempotentRequest, newJobId: string): Promise<KeyDecision> {
    const key = idempotencyKey(tenant, request.key);
    const mine: KeyRecord = { bodySha256: request.bodySha256, jobId: newJobId, createdAt: this.#core.timestamp() };
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if ((await this.#core.store.put(key, encodeJson(mine), { ifAbsent: true })).ok) return { jobId: newJobId };
      const found = await this.#core.store.get(key);
      if (found === undefined) continue; // removed with its job just now
      const other = KeyRecord.parse(decodeJson(key, found.body));
      if (other.jobId === newJobId) return { jobId: newJobId }; // our own write, its answer was lost
      if (ageMs(other, this.#core.clock) > IDEMPOTENCY_TTL_MS) {
        const replaced = await this.#core.store.put(key, encodeJson(mine), { ifMatch: found.etag });
        if (replaced.ok) return { jobId: newJobId };
        continue;
      }
      return this.#sameKey(tenant, request, other);
    }
    throw new CompressionError('OBJECT_STORE_UNAVAILABLE', 'the idempotency key did not come to rest; try again');
  }

  /** Frees the key of a job that is removed. */
  async forget(record: JobRecord): Promise<void> {
    if (record.idempotencyKey === null) return;
    const key = idempotencyKey(record.tenant, record.idempotencyKey);
    const found = await this.#core.store.get(key);
    if (found === undefined || KeyRecord.parse(decodeJson(key, found.body)).jobId !== record.id) return;
    await this.#core.store.delete(key);
  }

  async #sameKey(tenant: string, request: IdempotentRequest, other: KeyRecord): Promise<KeyDecision> {
    if (other.bodySha256 !== request.bodySha256) {
      throw new CompressionError(
        'IDEMPOTENCY_KEY_REUSED',
        `Idempotency-Key ${JSON.stringify(request.key)} was used at ${other.createdAt} with another body (job ` +
          `${other.jobId}); send the same body to get that job, or a new key to make another`,
      );
    }
    const { clock, records } = this.#core;
    const end = clock.monotonic() + IN_FLIGHT_PATIENCE_MS;
    for (;;) {
      const found = await records.read(tenant, other.jobId);
      if (found !== undefined) return { replay: found.record };
      if (ageMs(other, clock) > ABANDONED_MS) return { jobId: other.jobId };
      if (clock.monotonic() >= end) break;
      await delay(IN_FLIGHT_POLL_MS);
    }
    throw new CompressionError(
      'IDEMPOTENCY_IN_FLIGHT',
      `the first request with Idempotency-Key ${JSON.stringify(request.key)} is still at work; repeat this one shortly`,
      { retryAfterSeconds: 1 },
    );
  }
}

function ageMs(record: KeyRecord, clock: Clock): number {
  return clock.now() - Date.parse(record.createdAt);
}
