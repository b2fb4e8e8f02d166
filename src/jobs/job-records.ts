import { setTimeout as delay } from 'node:timers/promises';
import { CompressionError, messageOf } from '../errors.ts';
import { JobRecord } from '../schemas/job.ts';
import type { Etag, ObjectStore } from '../storage/object-store.ts';
import { recordKey } from './job-keys.ts';

export interface VersionedRecord {
  readonly record: JobRecord;
  readonly etag: Etag;
}

const MAX_TRIES = 50;

/** Job records, changed by compare-and-set only. */
export class JobRecords {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** @throws CompressionError INTERNAL when the record is of a version this program does not know */
  async read(tenant: string, jobId: string): Promise<VersionedRecord | undefined> {
    const key = recordKey(tenant, jobId);
    const found = await this.#store.get(key);
    return found === undefined ? undefined : { record: decode(key, found.body), etag: found.etag };
  }

  /** False when the job exists already; nothing is changed then. */
  async create(record: JobRecord): Promise<boolean> {
    const result = await this.#store.put(recordKey(record.tenant, record.id), encodeJson(record), { ifAbsent: true });
    return result.ok;
  }

  /** One try; undefined when somebody else has changed the record since it was read. */
  async replace(from: VersionedRecord, record: JobRecord): Promise<VersionedRecord | undefined> {
    const key = recordKey(record.tenant, record.id);
    const result = await this.#store.put(key, encodeJson(record), { ifMatch: from.etag });
    return result.ok ? { record, etag: result.etag } : undefined;
  }

  /**
   * Reads, changes and writes until nobody came in between. `change` answers undefined to leave the record as it is.
   * @returns the record as it is then, and whether this call changed it; undefined when there is no record
   */
  async update(
    tenant: string,
    jobId: string,
    change: (record: JobRecord) => JobRecord | undefined,
  ): Promise<{ readonly record: JobRecord; readonly changed: boolean } | undefined> {
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      const current = await this.read(tenant, jobId);
      if (current === undefined) return undefined;
      const wanted = change(current.record);
      if (wanted === undefined) return { record: current.record, changed: false };
      const written = await this.replace(current, wanted);
      if (written !== undefined) return { record: written.record, changed: true };
      await delay(Math.random() * Math.min(tries * 4, 50));
    }
    throw contended(jobId);
  }
}

export function contended(jobId: string): CompressionError {
  return new CompressionError(
    'OBJECT_STORE_UNAVAILABLE',
    `record of ${jobId} was changed by others ${MAX_TRIES} times in a row; try again`,
  );
}

export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** JSON of an object in the store. @throws CompressionError INTERNAL */
export function decodeJson(key: string, body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString('utf8'));
  } catch (error) {
    throw new CompressionError('INTERNAL', `object ${key} is not JSON: ${messageOf(error)}`, { cause: error });
  }
}

function decode(key: string, body: Uint8Array): JobRecord {
  const parsed = JobRecord.safeParse(decodeJson(key, body));
  if (parsed.success) return parsed.data;
  throw new CompressionError(
    'INTERNAL',
    `job record ${key} is not of version 1, which this program knows: ${parsed.error.issues
      .map((issue) => `${issue.path.join('.')}: ${issue.message}`)
      .slice(0, 5)
      .join('; ')}; run the same version of API and workers`,
    { cause: parsed.error },
  );
}
