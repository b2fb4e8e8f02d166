import type { FastifyInstance } from 'fastify';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Requests by route pattern (never by path: ids would make endless series), method and status. */
export function registerHttpMetrics(app: FastifyInstance, registry: Registry): void {
  const seconds = new Histogram({
    name: 'tersor_http_request_duration_seconds',
    help: 'Time from the request line to the end of the answer',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    registers: [registry],
  });
  const inFlight = new Gauge({
    name: 'tersor_http_requests_in_flight',
    help: 'Requests being answered, event streams included',
    registers: [registry],
  });
  const uploaded = new Counter({
    name: 'tersor_http_upload_bytes_total',
    help: 'Bytes of models and data sets taken in',
    labelNames: ['kind'] as const,
    registers: [registry],
  });
  app.decorate('countUpload', (kind: 'model' | 'dataset', bytes: number) => uploaded.inc({ kind }, bytes));

  app.addHook('onRequest', (_request, reply, done) => {
    inFlight.inc();
    reply.raw.once('close', () => inFlight.dec());
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none';
    // A stream lasts as long as somebody listens; that says nothing about how fast we are.
    if (!route.endsWith('/events'))
      seconds.observe({ method: request.method, route, status: String(reply.statusCode) }, reply.elapsedTime / 1000);
    done();
  });

  app.get('/metrics', { schema: { hide: true } }, async (_request, reply) => {
    return reply.type(registry.contentType).send(await registry.metrics());
  });
}

declare module 'fastify' {
  interface FastifyInstance {
    countUpload(kind: 'model' | 'dataset', bytes: number): void;
  }
}
