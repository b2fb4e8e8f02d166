import { CompressionError } from '../errors.ts';
import type { Clock } from '../jobs/clock.ts';
import { Delivery, DeliveryId, DeliveryRecord } from '../schemas/webhook.ts';
import { jsonBytes, readJson } from '../storage/json-object.ts';
import type { Etag, ObjectStore } from '../storage/object-store.ts';
import {
  deliveriesPrefix,
  deliveryKey,
  DUE_PREFIX,
  EXPIRING_PREFIX,
  markerOf,
  parseMarker,
  type DeliveryAddress,
  type Marker,
} from './webhook-keys.ts';

export interface VersionedDelivery {
  readonly record: DeliveryRecord;
  readonly etag: Etag;
}

/** How long the log keeps a delivery that is over. */
const RETENTION_MS = 30 * 24 * 3600 * 1000;
/** A due marker without a delivery is swept after this long; making a delivery that takes longer sets it again. */
export const ORPHAN_MARKER_MS = 10 * 60 * 1000;
const SLOW_CREATE_MS = 60 * 1000;
const PAGE = 1000;

/**
 * Deliveries and the markers by which they are found when they are due.
 *
 * A delivery's due time only rises. The marker of the next due time is written before the record that names it, and the
 * one before is removed after; so a delivery that is not over always has the marker of its due time, wherever a process
 * dies. A marker that is earlier than the record's due time is a leftover.
 */
export class DeliveryStore {
  readonly #store: ObjectStore;
  readonly #clock: Clock;

  constructor(store: ObjectStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Stores a delivery that is due at its `nextAttemptAt`, unless it exists. @returns its marker */
  async create(record: DeliveryRecord): Promise<Marker> {
    const address = addressOf(record);
    const marker = markerOf(DUE_PREFIX, address, dueMs(record));
    const start = this.#clock.monotonic();
    await this.#store.put(marker.key, jsonBytes({}));
    await this.#store.put(deliveryKey(address), jsonBytes(record), { ifAbsent: true });
    if (this.#clock.monotonic() - start > SLOW_CREATE_MS) await this.#store.put(marker.key, jsonBytes({}));
    return marker;
  }

  async read(address: Omit<DeliveryAddress, 'lane'>): Promise<VersionedDelivery | undefined> {
    const found = await readJson(this.#store, deliveryKey(address), DeliveryRecord);
    return found === undefined ? undefined : { record: found.value, etag: found.etag };
  }

  /** One try; undefined when somebody else has changed the record since it was read. */
  async replace(from: VersionedDelivery, record: DeliveryRecord): Promise<VersionedDelivery | undefined> {
    const result = await this.#store.put(deliveryKey(addressOf(record)), jsonBytes(record), { ifMatch: from.etag });
    return result.ok ? { record, etag: result.etag } : undefined;
  }

  /** Replaces and moves the marker along: to the next due time, or for a delivery that is over to its removal. */
  async move(from: VersionedDelivery, record: DeliveryRecord): Promise<VersionedDelivery | undefined> {
    const address = addressOf(record);
    const next =
      record.status === 'pending'
        ? markerOf(DUE_PREFIX, address, dueMs(record))
        : markerOf(EXPIRING_PREFIX, address, this.#clock.now() + RETENTION_MS);
    await this.#store.put(next.key, jsonBytes({}));
    const written = await this.replace(from, record);
    if (written !== undefined) await this.#store.delete(markerOf(DUE_PREFIX, address, dueMs(from.record)).key);
    return written;
  }

  async deleteMarker(marker: Marker): Promise<void> {
    await this.#store.delete(marker.key);
  }

  /**
   * Markers in the order of their time, page by page; stops at those later than now.
   *
   * @param later - called with the time of the first later marker
   */
  async *due(later: (atMs: number) => void): AsyncGenerator<Marker> {
    let after: string | undefined;
    for (;;) {
      const page = await this.#store.list(DUE_PREFIX, { limit: PAGE, ...(after === undefined ? {} : { after }) });
      for (const { key } of page) {
        const marker = parseMarker(key);
        if (marker === undefined) continue;
        if (marker.atMs > this.#clock.now()) {
          later(marker.atMs);
          return;
        }
        yield marker;
      }
      after = page.at(-1)?.key;
      if (page.length < PAGE) return;
    }
  }

  /** Removes deliveries whose time in the log is over. @returns how many */
  async expire(): Promise<number> {
    let removed = 0;
    for (;;) {
      const page = await this.#store.list(EXPIRING_PREFIX, { limit: 100 });
      for (const { key } of page) {
        const marker = parseMarker(key);
        if (marker === undefined || marker.atMs > this.#clock.now()) return removed;
        await this.#store.delete(deliveryKey(marker));
        await this.#store.delete(key);
        removed += 1;
      }
      if (page.length < 100) return removed;
    }
  }

  /** Deliveries that are not over, counted up to 10,000. */
  async pending(): Promise<number> {
    let count = 0;
    let after: string | undefined;
    for (let pages = 0; pages < 10; pages++) {
      const page = await this.#store.list(DUE_PREFIX, { limit: PAGE, ...(after === undefined ? {} : { after }) });
      count += page.length;
      after = page.at(-1)?.key;
      if (page.length < PAGE) break;
    }
    return count;
  }

  /** The log of an endpoint or job, newest first. @throws CompressionError QUERY_INVALID for a cursor of another list */
  async list(
    tenant: string,
    target: string,
    query: { readonly limit: number; readonly cursor?: string | undefined },
  ): Promise<{ items: Delivery[]; nextCursor: string | null }> {
    const prefix = deliveriesPrefix(tenant, target);
    const { limit, cursor } = query;
    if (cursor !== undefined && !DeliveryId.safeParse(cursor).success)
      throw new CompressionError('QUERY_INVALID', 'The query is not valid: /cursor must be a nextCursor of this list', {
        places: [{ pointer: '/cursor', message: 'must be a nextCursor of this list' }],
      });
    const page = await this.#store.list(prefix, {
      limit: limit + 1,
      ...(cursor === undefined ? {} : { after: `${prefix}${cursor}.json` }),
    });
    const ids = page.slice(0, limit).map(({ key }) => key.slice(prefix.length, -'.json'.length));
    const found = await Promise.all(ids.map((id) => this.read({ tenant, target, id })));
    return {
      items: found.filter((delivery) => delivery !== undefined).map(({ record }) => deliveryView(record)),
      nextCursor: page.length > limit ? (ids.at(-1) ?? null) : null,
    };
  }
}

/** When the next attempt is due. */
export function dueMs(record: DeliveryRecord): number {
  return record.nextAttemptAt === null ? 0 : Date.parse(record.nextAttemptAt);
}

function addressOf(record: DeliveryRecord): DeliveryAddress {
  const { id, tenant, lane, endpoint, job } = record;
  return { id, tenant, lane, target: endpoint ?? job ?? 'none' };
}

/** The delivery as its owner sees it. */
export function deliveryView(record: DeliveryRecord): Delivery {
  return Delivery.parse(record);
}
