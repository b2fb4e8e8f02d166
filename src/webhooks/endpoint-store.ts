import { randomBytes } from 'node:crypto';
import { CompressionError } from '../errors.ts';
import { timestamp } from '../jobs/clock.ts';
import type { Clock } from '../jobs/clock.ts';
import { EndpointsDocument } from '../schemas/webhook.ts';
import type {
  ChangeEndpoint,
  CreateEndpoint,
  DisabledReason,
  EndpointRecord,
  WebhookEndpoint,
} from '../schemas/webhook.ts';
import { readJson } from '../storage/json-object.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { newSecrets, previousValidUntil, rotated } from './signing.ts';
import { updateJson } from './stored-document.ts';
import { endpointsKey } from './webhook-keys.ts';

const MAX_ENDPOINTS = 100;

/** An endpoint that fails for this long, without one success, is disabled. */
const FAILING_LIMIT_MS = 5 * 24 * 3600 * 1000;
/** Failures needed as well, so that two lone ones days apart do not disable it. */
const FAILURES_TO_DISABLE = 5;
/** Failures this close together count as one, which also keeps a dead endpoint from rewriting the record all the time. */
const FAILURE_INTERVAL_MS = 10 * 60 * 1000;
/** Events that come many times a job may be matched against endpoints this old. */
const CACHE_MS = 5_000;

/** The endpoints of each tenant, changed by compare-and-set. */
export class EndpointStore {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  readonly #cache = new Map<string, { readonly endpoints: readonly EndpointRecord[]; readonly readAt: number }>();

  constructor(store: ObjectStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Newest first. */
  async list(tenant: string): Promise<readonly EndpointRecord[]> {
    const found = await readJson(this.#store, endpointsKey(tenant), EndpointsDocument);
    const endpoints = found?.value.endpoints ?? [];
    if (this.#cache.size >= 1000) this.#cache.clear();
    this.#cache.set(tenant, { endpoints, readAt: this.#clock.monotonic() });
    return endpoints;
  }

  /** As `list`, up to 5 s old. */
  async listCached(tenant: string): Promise<readonly EndpointRecord[]> {
    const cached = this.#cache.get(tenant);
    if (cached !== undefined && this.#clock.monotonic() - cached.readAt < CACHE_MS) return cached.endpoints;
    return this.list(tenant);
  }

  async get(tenant: string, id: string): Promise<EndpointRecord | undefined> {
    return (await this.list(tenant)).find((endpoint) => endpoint.id === id);
  }

  /** @throws CompressionError WEBHOOK_LIMIT */
  async create(tenant: string, request: CreateEndpoint): Promise<EndpointRecord> {
    const at = timestamp(this.#clock);
    const made: EndpointRecord = {
      id: `whe_${randomBytes(10).toString('hex')}`,
      url: request.url,
      events: request.events ?? null,
      description: request.description,
      enabled: true,
      disabledReason: null,
      failingSince: null,
      failures: 0,
      lastFailureAt: null,
      createdAt: at,
      updatedAt: at,
      secrets: newSecrets(),
    };
    await this.#update(tenant, (endpoints) => {
      // Our own write, whose answer was lost.
      if (endpoints.some(({ id }) => id === made.id)) return undefined;
      if (endpoints.length >= MAX_ENDPOINTS)
        throw new CompressionError(
          'WEBHOOK_LIMIT',
          `${MAX_ENDPOINTS} webhook endpoints exist, the most a tenant may have; delete one first`,
        );
      return [made, ...endpoints];
    });
    return made;
  }

  /** @returns the endpoint then; undefined when there is none */
  async change(tenant: string, id: string, request: ChangeEndpoint): Promise<EndpointRecord | undefined> {
    const nowMs = this.#clock.now();
    const { url, events, description, enabled, rotateSecret } = request;
    return this.#updateOne(tenant, id, (endpoint) => ({
      ...endpoint,
      ...(url === undefined ? {} : { url }),
      ...(events === undefined ? {} : { events }),
      ...(description === undefined ? {} : { description }),
      ...(rotateSecret === undefined ? {} : { secrets: rotated(endpoint.secrets, nowMs) }),
      ...(enabled === true ? HEALTHY : {}),
      ...(enabled === false ? { enabled, disabledReason: 'manual' } : {}),
      updatedAt: new Date(nowMs).toISOString(),
    }));
  }

  /** False when there is none. */
  async remove(tenant: string, id: string): Promise<boolean> {
    let found = false;
    await this.#update(tenant, (endpoints) => {
      const kept = endpoints.filter((endpoint) => endpoint.id !== id);
      if (kept.length === endpoints.length) return undefined;
      found = true;
      return kept;
    });
    return found;
  }

  /** @returns whether this call disabled it */
  async disable(tenant: string, id: string, disabledReason: DisabledReason): Promise<boolean> {
    let disabled = false;
    await this.#updateOne(tenant, id, (endpoint) => {
      disabled = endpoint.enabled;
      return endpoint.enabled ? this.#disabled(endpoint, disabledReason) : undefined;
    });
    return disabled;
  }

  async recordSuccess(tenant: string, endpoint: EndpointRecord): Promise<void> {
    if (endpoint.failingSince === null) return;
    await this.#updateOne(tenant, endpoint.id, (current) =>
      current.failingSince === null ? undefined : { ...current, failingSince: null, failures: 0, lastFailureAt: null },
    );
  }

  /** @returns whether the endpoint was disabled, since it has only failed for five days */
  async recordFailure(tenant: string, endpoint: EndpointRecord): Promise<boolean> {
    const nowMs = this.#clock.now();
    const isRecent = ({ lastFailureAt }: EndpointRecord) =>
      lastFailureAt !== null && Math.abs(nowMs - Date.parse(lastFailureAt)) < FAILURE_INTERVAL_MS;
    if (isRecent(endpoint)) return false;
    let disabled = false;
    await this.#updateOne(tenant, endpoint.id, (current) => {
      disabled = false;
      if (!current.enabled || isRecent(current)) return undefined;
      const at = new Date(nowMs).toISOString();
      const failingSince = current.failingSince ?? at;
      const failures = current.failures + 1;
      const next = { ...current, failingSince, failures, lastFailureAt: at };
      disabled = failures >= FAILURES_TO_DISABLE && nowMs - Date.parse(failingSince) >= FAILING_LIMIT_MS;
      return disabled ? this.#disabled(next, 'failing') : next;
    });
    return disabled;
  }

  #disabled(endpoint: EndpointRecord, disabledReason: DisabledReason): EndpointRecord {
    return { ...endpoint, enabled: false, disabledReason, updatedAt: timestamp(this.#clock) };
  }

  async #updateOne(
    tenant: string,
    id: string,
    change: (endpoint: EndpointRecord) => EndpointRecord | undefined,
  ): Promise<EndpointRecord | undefined> {
    const endpoints = await this.#update(tenant, (current) => {
      const index = current.findIndex((endpoint) => endpoint.id === id);
      const found = current[index];
      const wanted = found === undefined ? undefined : change(found);
      return wanted === undefined ? undefined : current.with(index, wanted);
    });
    return endpoints.find((endpoint) => endpoint.id === id);
  }

  async #update(
    tenant: string,
    change: (endpoints: readonly EndpointRecord[]) => readonly EndpointRecord[] | undefined,
  ): Promise<readonly EndpointRecord[]> {
    const document = await updateJson(
      this.#store,
      endpointsKey(tenant),
      EndpointsDocument,
      (current): EndpointsDocument | undefined => {
        const endpoints = change(current?.endpoints ?? []);
        return endpoints === undefined ? undefined : { recordVersion: 1, endpoints: [...endpoints] };
      },
    );
    this.#cache.delete(tenant);
    return document?.endpoints ?? [];
  }
}

const HEALTHY = { enabled: true, disabledReason: null, failingSince: null, failures: 0, lastFailureAt: null } as const;

/** The endpoint as its owner sees it, without secrets. */
export function endpointView(record: EndpointRecord, nowMs: number): WebhookEndpoint {
  const { id, url, events, description, enabled, disabledReason, failingSince, createdAt, updatedAt, secrets } = record;
  return {
    id,
    url,
    events,
    description,
    enabled,
    disabledReason,
    failingSince,
    createdAt,
    updatedAt,
    previousSecretValidUntil: previousValidUntil(secrets, nowMs),
  };
}
