import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { jsonBytes, readJson } from './json-object.ts';
import type { ObjectStore } from './object-store.ts';

/** Who holds a content, and under which key its bytes lie; no key: nobody does, and the bytes are gone. */
const BlobRecord = z.object({ key: z.string().nullable(), bytes: z.number().int(), holders: z.array(z.string()) });
type BlobRecord = z.infer<typeof BlobRecord>;

const MAX_TRIES = 50;

/**
 * Contents by their SHA-256, stored once whoever uploads them, and removed with their last holder.
 *
 * A record per hash changes by compare-and-set only. Each upload of bytes goes to a key of its own, so a removal that
 * races an upload can never take the bytes of the winner away: it deletes a key that no record names any more.
 */
export class BlobStore {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** Makes the content available for as long as `holder` holds it. Writes the bytes only if nobody has. */
  async hold(sha256: string, holder: string, source: { readonly bytes: number; open(): Readable }): Promise<void> {
    let written: string | undefined;
    try {
      for (let attempt = 0; attempt < MAX_TRIES; attempt += 1) {
        const current = await this.#record(sha256);
        if (current !== undefined && current.value.key !== null) {
          const { value, etag } = current;
          if (value.holders.includes(holder)) return;
          const result = await this.#put(sha256, { ...value, holders: [...value.holders, holder] }, etag);
          if (result) return;
          continue;
        }
        if (written === undefined) {
          const key = `blobs/${sha256}/${randomBytes(8).toString('hex')}`;
          await this.#store.write(key, source.open());
          written = key;
        }
        const record: BlobRecord = { key: written, bytes: source.bytes, holders: [holder] };
        if (await this.#put(sha256, record, current?.etag)) {
          written = undefined;
          return;
        }
      }
      throw new CompressionError('OBJECT_STORE_UNAVAILABLE', `Content ${sha256} is being changed by others; retry`);
    } finally {
      if (written !== undefined) await this.#store.delete(written);
    }
  }

  /** Ends a hold; the last one takes the bytes along. */
  async release(sha256: string, holder: string): Promise<void> {
    for (let attempt = 0; attempt < MAX_TRIES; attempt += 1) {
      const current = await this.#record(sha256);
      if (current?.value.holders.includes(holder) !== true) return;
      const { value, etag } = current;
      const holders = value.holders.filter((other) => other !== holder);
      if (!(await this.#put(sha256, { ...value, holders, key: holders.length === 0 ? null : value.key }, etag)))
        continue;
      if (holders.length === 0 && value.key !== null) await this.#store.delete(value.key);
      return;
    }
    throw new CompressionError('OBJECT_STORE_UNAVAILABLE', `Content ${sha256} is being changed by others; retry`);
  }

  /** The key under which the bytes lie now; undefined when there are none. */
  async keyOf(sha256: string): Promise<string | undefined> {
    return (await this.#record(sha256))?.value.key ?? undefined;
  }

  /** The bytes, or an inclusive range of them; undefined when there are none. */
  async read(sha256: string, range?: { readonly start: number; readonly end: number }): Promise<Readable | undefined> {
    const key = await this.keyOf(sha256);
    return key === undefined ? undefined : this.#store.read(key, range);
  }

  #record(sha256: string) {
    return readJson(this.#store, `blobs/${sha256}/record.json`, BlobRecord);
  }

  async #put(sha256: string, record: BlobRecord, etag: string | undefined): Promise<boolean> {
    const condition = etag === undefined ? ({ ifAbsent: true } as const) : { ifMatch: etag };
    return (await this.#store.put(`blobs/${sha256}/record.json`, jsonBytes(record), condition)).ok;
  }
}
