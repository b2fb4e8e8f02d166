import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { AttemptError } from '../schemas/webhook.ts';

export interface WebhookMetrics {
  attempt(outcome: 'delivered' | AttemptError, seconds: number): void;
  /** A delivery is over, so long after it was made. */
  finished(outcome: 'delivered' | 'failed', seconds: number): void;
  disabled(reason: string): void;
}

/** Figures of the deliveries this process makes, and of those that are due in the store. */
export function webhookMetrics(registry: Registry, pending: () => Promise<number>): WebhookMetrics {
  const attemptSeconds = new Histogram({
    name: 'tersor_webhook_attempt_seconds',
    help: 'Duration of attempts to deliver a webhook, by outcome',
    labelNames: ['outcome'] as const,
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20],
    registers: [registry],
  });
  const deliverySeconds = new Histogram({
    name: 'tersor_webhook_delivery_seconds',
    help: 'Time from the event to the end of its delivery, by outcome',
    labelNames: ['outcome'] as const,
    buckets: [0.1, 0.5, 1, 2, 5, 10, 60, 600, 3600, 21_600, 86_400, 345_600],
    registers: [registry],
  });
  const disabled = new Counter({
    name: 'tersor_webhook_endpoints_disabled_total',
    help: 'Endpoints that were disabled: gone (they answered 410) or failing (nothing but failures for five days)',
    labelNames: ['reason'] as const,
    registers: [registry],
  });
  const pendingGauge: Gauge = new Gauge({
    name: 'tersor_webhook_deliveries_pending',
    help: 'Deliveries in the store that are not over, counted up to 10,000',
    registers: [registry],
    async collect() {
      try {
        pendingGauge.set(await pending());
      } catch {
        // The other figures are worth having all the same; /readyz says what is wrong.
        pendingGauge.reset();
      }
    },
  });
  return {
    attempt: (outcome, seconds) => attemptSeconds.observe({ outcome }, seconds),
    finished: (outcome, seconds) => deliverySeconds.observe({ outcome }, seconds),
    disabled: (reason) => disabled.inc({ reason }),
  };
}
