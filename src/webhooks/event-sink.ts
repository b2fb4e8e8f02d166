import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../jobs/clock.ts';
import { mapConcurrently } from '../jobs/concurrency.ts';
import type { JobEventSink } from '../jobs/job-core.ts';
import type { JobEvent } from '../jobs/job-service.ts';
import { jobView } from '../schemas/job-view.ts';
import type { JobEventType, JobRecord } from '../schemas/job.ts';
import type { DeliveryRecord, EndpointRecord } from '../schemas/webhook.ts';
import type { DeliveryStore } from './delivery-store.ts';
import type { EndpointStore } from './endpoint-store.ts';
import { MAX_ATTEMPTS } from './schedule.ts';
import type { Marker } from './webhook-keys.ts';

/** What is sent to whoever names no events: those that end a job. */
const DEFAULT_EVENTS: ReadonlySet<JobEventType> = new Set<JobEventType>([
  'job.succeeded',
  'job.failed',
  'job.canceled',
]);
/** Events that come many times a job: thinned out, sent once and not again, since a newer one says more. */
const FREQUENT_EVENTS: ReadonlySet<JobEventType> = new Set<JobEventType>(['job.step', 'job.progress']);
const FREQUENT_INTERVAL_MS = 500;
const MAX_REMEMBERED_JOBS = 10_000;
const CREATE_CONCURRENCY = 16;

const TIME_DIGITS = 9;
const LAST_TIME = 36 ** TIME_DIGITS - 1;

/**
 * Turns job events into deliveries in the store, one for each endpoint that wants the event and one for the job's own
 * webhook. The same event gives the same ids, so that it may be told twice (terminal events are, after a crash).
 */
export function createEventSink(parts: {
  readonly deliveries: DeliveryStore;
  readonly endpoints: EndpointStore;
  readonly clock: Clock;
  /** Called with each delivery that was stored. */
  readonly offer: (marker: Marker) => void;
}): JobEventSink {
  const { deliveries, endpoints, clock, offer } = parts;
  const lastFrequent = new Map<string, number>();

  const isTooSoon = (jobId: string): boolean => {
    const now = clock.monotonic();
    const last = lastFrequent.get(jobId);
    if (last !== undefined && now - last < FREQUENT_INTERVAL_MS) return true;
    lastFrequent.delete(jobId);
    const oldest = lastFrequent.keys().next();
    if (lastFrequent.size >= MAX_REMEMBERED_JOBS && oldest.done !== true) lastFrequent.delete(oldest.value);
    lastFrequent.set(jobId, now);
    return false;
  };

  return async (record, event) => {
    // Nobody asked for a trial's events: its search has its own.
    if (record.trial !== undefined) return;
    const terminal = DEFAULT_EVENTS.has(event.type);
    // Only the end of a job is worth a read of its own each time.
    const all = terminal ? await endpoints.list(record.tenant) : await endpoints.listCached(record.tenant);
    const targets: Target[] = all
      .filter((endpoint) => endpoint.enabled && wants(endpoint.events, event.type))
      .map((endpoint) => ({ endpoint }));
    const { webhook } = record;
    if (webhook !== undefined && wants(webhook.events, event.type)) targets.push({ url: webhook.url });
    if (targets.length === 0) return;
    if (FREQUENT_EVENTS.has(event.type) && isTooSoon(record.id)) return;
    if (terminal) lastFrequent.delete(record.id);
    const body = bodyOf(event.type, event.at, jobView(record, null));
    await mapConcurrently(targets, CREATE_CONCURRENCY, async (target) => {
      offer(await deliveries.create(jobDelivery(record, event, target, body)));
    });
  };
}

type Target = { readonly endpoint: EndpointRecord } | { readonly url: string };

function wants(events: readonly JobEventType[] | null | undefined, type: JobEventType): boolean {
  return events === null || events === undefined ? DEFAULT_EVENTS.has(type) : events.includes(type);
}

function bodyOf(type: string, timestamp: string, data: unknown): string {
  return JSON.stringify({ type, timestamp, data });
}

function jobDelivery(record: JobRecord, event: JobEvent, target: Target, body: string): DeliveryRecord {
  const endpoint = 'endpoint' in target ? target.endpoint.id : null;
  const url = 'url' in target ? target.url : null;
  const message = `${record.tenant} ${record.id} ${event.id}`;
  return {
    ...NEW,
    id: deliveryId(Date.parse(event.at), digest(`${message} ${endpoint ?? ''}`)),
    webhookId: `msg_${digest(message)}`,
    tenant: record.tenant,
    endpoint,
    job: record.id,
    url,
    lane: endpoint ?? hostLane(url ?? ''),
    type: event.type,
    body,
    createdAt: event.at,
    nextAttemptAt: event.at,
    maxAttempts: FREQUENT_EVENTS.has(event.type) ? 1 : MAX_ATTEMPTS,
  };
}

const NEW = {
  recordVersion: 1,
  status: 'pending',
  givenUp: null,
  attempts: [],
  finishedAt: null,
  redeliveryOf: null,
  lease: null,
} as const satisfies Partial<DeliveryRecord>;

/** An event that shows its owner whether an endpoint works: sent once, whatever the endpoint's filter says. */
export function testDelivery(tenant: string, endpoint: EndpointRecord, nowMs: number): DeliveryRecord {
  const at = new Date(nowMs).toISOString();
  return {
    ...NEW,
    id: newDeliveryId(nowMs),
    webhookId: `msg_${randomBytes(14).toString('hex')}`,
    tenant,
    endpoint: endpoint.id,
    job: null,
    url: null,
    lane: endpoint.id,
    type: 'webhook.test',
    body: bodyOf('webhook.test', at, { endpoint: endpoint.id, message: 'The endpoint works.' }),
    createdAt: at,
    nextAttemptAt: at,
    maxAttempts: 1,
  };
}

/** The same message once more, by the whole schedule. */
export function redelivery(original: DeliveryRecord, nowMs: number): DeliveryRecord {
  const at = new Date(nowMs).toISOString();
  return {
    ...original,
    ...NEW,
    id: newDeliveryId(nowMs),
    redeliveryOf: original.id,
    createdAt: at,
    nextAttemptAt: at,
  };
}

function newDeliveryId(nowMs: number): string {
  return deliveryId(nowMs, randomBytes(14).toString('hex'));
}

/** Milliseconds counted down, then what tells it apart: a plain listing is newest first. */
function deliveryId(ms: number, rest: string): string {
  return `dlv_${(LAST_TIME - ms).toString(36).padStart(TIME_DIGITS, '0')}${rest}`;
}

function hostLane(url: string): string {
  return `host_${digest(URL.canParse(url) ? new URL(url).host : '').slice(0, 16)}`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 28);
}
