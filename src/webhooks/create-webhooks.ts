import type { Registry } from 'prom-client';
import { SYSTEM_CLOCK } from '../jobs/clock.ts';
import type { Clock } from '../jobs/clock.ts';
import type { JobEventSink } from '../jobs/job-core.ts';
import { SILENT_LOG } from '../jobs/job-log.ts';
import type { JobLog } from '../jobs/job-log.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { Deliverer } from './deliver.ts';
import { DeliveryStore } from './delivery-store.ts';
import { Dispatcher } from './dispatcher.ts';
import { EndpointStore } from './endpoint-store.ts';
import { createEventSink } from './event-sink.ts';
import { webhookMetrics } from './metrics.ts';
import { createSend, type Send } from './send.ts';
import { TenantSecret } from './tenant-secret.ts';
import { UrlPolicy, type UrlPolicyOptions } from './url-policy.ts';
import { WebhookService } from './webhook-service.ts';

export interface Webhooks {
  /** For the HTTP side. */
  readonly service: WebhookService;
  /** For createJobs. */
  readonly onEvent: JobEventSink;
  /** Begins to deliver, and goes on with what others left. Every process that makes events starts one. */
  readonly dispatcher: Dispatcher;
}

/** The webhooks folder, put together over a store. */
export function createWebhooks(parts: {
  readonly store: ObjectStore;
  readonly policy: UrlPolicyOptions;
  readonly metrics: Registry;
  readonly log?: JobLog;
  readonly clock?: Clock;
  /** 0 (inclusive) to 1 (exclusive); spreads retries. */
  readonly rng?: () => number;
  readonly send?: Send;
}): Webhooks {
  const { store, clock = SYSTEM_CLOCK, rng = Math.random, log = SILENT_LOG } = parts;
  const policy = new UrlPolicy(parts.policy);
  const deliveries = new DeliveryStore(store, clock);
  const endpoints = new EndpointStore(store, clock);
  const tenantSecret = new TenantSecret(store, clock);
  const metrics = webhookMetrics(parts.metrics, () => deliveries.pending());
  const send = parts.send ?? createSend(policy);
  const deliverer = new Deliverer({ deliveries, endpoints, tenantSecret, send, clock, rng, log, metrics });
  const dispatcher = new Dispatcher({ deliveries, deliverer, clock, log });
  const offer = dispatcher.offer.bind(dispatcher);
  return {
    service: new WebhookService({ deliveries, endpoints, tenantSecret, policy, clock, offer }),
    onEvent: createEventSink({ deliveries, endpoints, clock, offer }),
    dispatcher,
  };
}
