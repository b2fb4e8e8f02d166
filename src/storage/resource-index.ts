import type { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { jsonBytes, readJson } from './json-object.ts';
import type { ObjectStore } from './object-store.ts';

interface Resource {
  readonly id: string;
  readonly createdAt: string;
}

/** Milliseconds since 1970 fit 13 digits until the year 2286; counted down, newest sorts first. */
const TIME_CEILING = 9_999_999_999_999;

const CURSOR = /^[0-9]{13}-[a-z]{3}_[0-9a-z]{16,64}$/;

/**
 * Records of one kind by tenant and id, listed newest first. A small index entry beside each record makes the listing
 * a prefix listing; its key follows from the record, so writing both twice does no harm.
 */
export class ResourceIndex<Schema extends z.ZodType<Resource>> {
  readonly #store: ObjectStore;
  readonly #folder: string;
  readonly #schema: Schema;

  constructor(store: ObjectStore, folder: string, schema: Schema) {
    this.#store = store;
    this.#folder = folder;
    this.#schema = schema;
  }

  async get(tenant: string, id: string): Promise<z.output<Schema> | undefined> {
    return (await readJson(this.#store, this.#recordKey(tenant, id), this.#schema))?.value;
  }

  /** Stores the record unless there is one with its id; gives back the one that is there now. */
  async create(tenant: string, record: z.output<Schema>): Promise<{ record: z.output<Schema>; created: boolean }> {
    const key = this.#recordKey(tenant, record.id);
    const result = await this.#store.put(key, jsonBytes(record), { ifAbsent: true });
    const kept = result.ok ? record : await this.get(tenant, record.id);
    if (kept === undefined) throw new CompressionError('CONFLICT', `${record.id} is being deleted; retry`);
    await this.#store.put(this.#indexKey(tenant, kept), jsonBytes({}));
    return { record: kept, created: result.ok };
  }

  async list(
    tenant: string,
    query: { readonly limit: number; readonly cursor?: string | undefined },
  ): Promise<{ items: z.output<Schema>[]; nextCursor: string | null }> {
    const prefix = `tenants/${tenant}/${this.#folder}/by-time/`;
    const items: z.output<Schema>[] = [];
    if (query.cursor !== undefined && !CURSOR.test(query.cursor))
      throw new CompressionError('QUERY_INVALID', 'The query is not valid: /cursor must be a nextCursor of this list', {
        places: [{ pointer: '/cursor', message: 'must be a nextCursor of this list' }],
      });
    let after = query.cursor === undefined ? undefined : `${prefix}${query.cursor}`;
    for (;;) {
      const entries = await this.#store.list(prefix, {
        limit: query.limit + 1,
        ...(after === undefined ? {} : { after }),
      });
      for (const entry of entries) {
        if (items.length === query.limit) return { items, nextCursor: after?.slice(prefix.length) ?? null };
        after = entry.key;
        const record = await this.get(tenant, entry.key.slice(prefix.length).replace(/^[0-9]+-/, ''));
        // An entry without its record: a delete that was cut short.
        if (record !== undefined) items.push(record);
      }
      if (entries.length <= query.limit) return { items, nextCursor: null };
    }
  }

  async remove(tenant: string, record: z.output<Schema>): Promise<void> {
    await this.#store.delete(this.#recordKey(tenant, record.id));
    await this.#store.delete(this.#indexKey(tenant, record));
  }

  #recordKey(tenant: string, id: string): string {
    return `tenants/${tenant}/${this.#folder}/by-id/${id}.json`;
  }

  #indexKey(tenant: string, record: Resource): string {
    const time = String(TIME_CEILING - Date.parse(record.createdAt)).padStart(13, '0');
    return `tenants/${tenant}/${this.#folder}/by-time/${time}-${record.id}`;
  }
}
