import { randomBytes } from 'node:crypto';
import { messageOf } from '../errors.ts';
import type { Clock } from '../jobs/clock.ts';
import type { JobLog } from '../jobs/job-log.ts';
import type { DeliveryAttempt, DeliveryRecord, EndpointRecord, SecretPair } from '../schemas/webhook.ts';
import { dueMs, ORPHAN_MARKER_MS, type DeliveryStore, type VersionedDelivery } from './delivery-store.ts';
import type { EndpointStore } from './endpoint-store.ts';
import type { WebhookMetrics } from './metrics.ts';
import { retryAfterMs, retryDelayMs } from './schedule.ts';
import { SEND_TIMEOUT_MS, type Send, type SendResult } from './send.ts';
import { signedHeaders } from './signing.ts';
import type { TenantSecret } from './tenant-secret.ts';
import type { Marker } from './webhook-keys.ts';

/** An attempt is over or dead by then. Longer than the attempt itself, by what the store may take. */
export const LEASE_MS = SEND_TIMEOUT_MS + 15_000;

interface DelivererParts {
  readonly deliveries: DeliveryStore;
  readonly endpoints: EndpointStore;
  readonly tenantSecret: TenantSecret;
  readonly send: Send;
  readonly clock: Clock;
  readonly rng: () => number;
  readonly log: JobLog;
  readonly metrics: WebhookMetrics;
}

/** What became of a due marker: delivered, an attempt failed, or there was nothing (or nothing yet) to do. */
type Visit = 'delivered' | 'failed' | 'nothing';

interface Destination {
  readonly url: string;
  readonly secrets: SecretPair;
  readonly endpoint: EndpointRecord | undefined;
}

/** Makes one attempt at a time at a delivery, held by a lease in the record, and writes down how it went. */
export class Deliverer {
  readonly #parts: DelivererParts;

  constructor(parts: DelivererParts) {
    this.#parts = parts;
  }

  /** Attempts the delivery of a due marker, if it is really due and nobody else is at it. */
  async visit(marker: Marker, signal: AbortSignal): Promise<Visit> {
    const { deliveries, clock } = this.#parts;
    const found = await deliveries.read(marker);
    const nowMs = clock.now();
    if (found === undefined) {
      // The marker comes before the record: it may be on its way.
      if (nowMs - marker.atMs > ORPHAN_MARKER_MS) await deliveries.deleteMarker(marker);
      return 'nothing';
    }
    const { record } = found;
    if (record.status !== 'pending' || marker.atMs < dueMs(record)) {
      await deliveries.deleteMarker(marker); // left over from before the delivery moved on
      return 'nothing';
    }
    if (marker.atMs > dueMs(record) || isLeased(record, nowMs)) return 'nothing';
    const lease = { owner: randomBytes(8).toString('hex'), until: new Date(nowMs + LEASE_MS).toISOString() };
    const held = await deliveries.replace(found, { ...record, lease });
    return held === undefined ? 'nothing' : this.#attempt(held, signal);
  }

  async #attempt(held: VersionedDelivery, signal: AbortSignal): Promise<Visit> {
    const { clock, send, metrics } = this.#parts;
    const { record } = held;
    const destination = await this.#destination(record);
    if (typeof destination === 'string') {
      await this.#finish(held, this.#over(record, { givenUp: destination }));
      return 'nothing';
    }
    const at = clock.now();
    const start = clock.monotonic();
    const { url, secrets, endpoint } = destination;
    const result = await send({ url, body: record.body, headers: signedHeaders(record, secrets, at) }, signal);
    const durationMs = Math.round(clock.monotonic() - start);
    if (signal.aborted && result.kind === 'error') {
      // We are shutting down and cut it off ourselves; that is no failure of the endpoint's. Somebody else goes on.
      await this.#parts.deliveries.replace(held, { ...record, lease: null });
      return 'nothing';
    }
    const attempt = attemptOf(result, { at: new Date(at).toISOString(), durationMs });
    const next = this.#after(record, attempt, result);
    await this.#finish(held, next);
    metrics.attempt(attempt.error ?? 'delivered', durationMs / 1000);
    this.#parts.log.info(
      {
        event: 'webhook.attempt',
        ...idsOf(record),
        attempt: next.attempts.length,
        status: attempt.status,
        error: attempt.error,
        durationMs,
        nextAttemptAt: next.nextAttemptAt,
      },
      'webhook attempted',
    );
    if (endpoint !== undefined) await this.#judge(record, endpoint, attempt);
    return attempt.error === null ? 'delivered' : 'failed';
  }

  /** Where it goes now, or why it goes nowhere. */
  async #destination(record: DeliveryRecord): Promise<Destination | 'endpoint-deleted' | 'endpoint-disabled'> {
    const { endpoints, tenantSecret } = this.#parts;
    if (record.url !== null)
      return { url: record.url, secrets: await tenantSecret.get(record.tenant), endpoint: undefined };
    const endpoint = record.endpoint === null ? undefined : await endpoints.get(record.tenant, record.endpoint);
    if (endpoint === undefined) return 'endpoint-deleted';
    if (!endpoint.enabled) return 'endpoint-disabled';
    return { url: endpoint.url, secrets: endpoint.secrets, endpoint };
  }

  #after(record: DeliveryRecord, attempt: DeliveryAttempt, result: SendResult): DeliveryRecord {
    const { clock, rng } = this.#parts;
    const attempts = [...record.attempts, attempt];
    const tried = { ...record, attempts };
    if (attempt.error === null) return this.#over(tried, { status: 'delivered' });
    if (attempt.status === 410) return this.#over(tried, { givenUp: 'gone' });
    const delayMs = attempts.length < record.maxAttempts ? retryDelayMs(attempts.length, rng) : undefined;
    if (delayMs === undefined) return this.#over(tried, { givenUp: 'attempts-used' });
    const nowMs = clock.now();
    const asked = isThrottling(result) ? retryAfterMs(result.retryAfter, nowMs) : 0;
    // Due times only rise, also when the clock is set back; see DeliveryStore.
    const nextMs = Math.max(nowMs + Math.max(delayMs, asked), dueMs(record) + 1);
    return { ...tried, lease: null, nextAttemptAt: new Date(nextMs).toISOString() };
  }

  #over(
    record: DeliveryRecord,
    how: { readonly status: 'delivered' } | { readonly givenUp: NonNullable<DeliveryRecord['givenUp']> },
  ): DeliveryRecord {
    return {
      ...record,
      status: 'failed',
      ...how,
      lease: null,
      nextAttemptAt: null,
      finishedAt: new Date(this.#parts.clock.now()).toISOString(),
    };
  }

  /**
   * Writes the result. Where the store does not take it (it has tried long enough itself), the attempt is repeated when
   * the lease is over, under the same webhook-id.
   */
  async #finish(held: VersionedDelivery, next: DeliveryRecord): Promise<void> {
    const { deliveries, metrics, log, clock } = this.#parts;
    const written = await deliveries.move(held, next);
    if (written === undefined)
      log.warn({ event: 'webhook.lease-lost', ...idsOf(next) }, 'the delivery went to somebody else meanwhile');
    else if (next.status !== 'pending')
      metrics.finished(next.status, Math.max(clock.now() - Date.parse(next.createdAt), 0) / 1000);
  }

  /** Keeps book of the endpoint's health. What goes wrong here must not undo the delivery. */
  async #judge(record: DeliveryRecord, endpoint: EndpointRecord, attempt: DeliveryAttempt): Promise<void> {
    const { endpoints, metrics, log } = this.#parts;
    try {
      if (attempt.error === null) {
        await endpoints.recordSuccess(record.tenant, endpoint);
        return;
      }
      const gone = attempt.status === 410;
      const disabled = gone
        ? await endpoints.disable(record.tenant, endpoint.id, 'gone')
        : await endpoints.recordFailure(record.tenant, endpoint);
      if (!disabled) return;
      const reason = gone ? 'gone' : 'failing';
      metrics.disabled(reason);
      log.warn({ event: 'webhook.endpoint-disabled', ...idsOf(record), reason }, 'webhook endpoint disabled');
    } catch (error) {
      log.warn(
        { event: 'webhook.endpoint-not-updated', ...idsOf(record), error: messageOf(error) },
        'the health of a webhook endpoint could not be written down',
      );
    }
  }
}

/** A lease that ends later than a lease can is of a clock that was set back since. */
function isLeased({ lease }: DeliveryRecord, nowMs: number): boolean {
  if (lease === null) return false;
  const leftMs = Date.parse(lease.until) - nowMs;
  return leftMs > 0 && leftMs <= LEASE_MS;
}

function attemptOf(result: SendResult, when: { readonly at: string; readonly durationMs: number }): DeliveryAttempt {
  if (result.kind === 'error') return { ...when, status: null, error: result.error, detail: result.detail };
  const { status } = result;
  if (status >= 200 && status < 300) return { ...when, status, error: null, detail: null };
  if (status >= 300 && status < 400)
    return { ...when, status, error: 'redirect', detail: 'redirects are not followed; give the final URL' };
  return { ...when, status, error: 'http-status', detail: `the endpoint answered ${status}, expected 2xx` };
}

function isThrottling(result: SendResult): result is SendResult & { kind: 'answer' } {
  return result.kind === 'answer' && [429, 502, 503, 504].includes(result.status);
}

function idsOf({ id, tenant, endpoint, job, type }: DeliveryRecord): Readonly<Record<string, unknown>> {
  return { deliveryId: id, tenant, endpointId: endpoint, jobId: job, type };
}
