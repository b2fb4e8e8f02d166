import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config.ts';
import { CompressionError } from '../errors.ts';
import { WindowCounter } from './window-counter.ts';

/**
 * Requests a minute for each key, reads and writes apart, so that polling never uses up what uploads and jobs need.
 * Every answer under /v1 says what is left, in the headers of draft-ietf-httpapi-ratelimit-headers.
 */
export function registerRateLimit(app: FastifyInstance, config: Config): void {
  const reads = new WindowCounter(config.readsPerMinute, 60_000);
  const writes = new WindowCounter(config.writesPerMinute, 60_000);

  app.addHook('onRequest', (request, reply, done) => {
    if (request.caller !== '' && request.routeOptions.url?.startsWith('/v1/') === true) count(request, reply);
    done();
  });

  function count(request: FastifyRequest, reply: FastifyReply): void {
    const reading = request.method === 'GET' || request.method === 'HEAD';
    const name = reading ? 'reads' : 'writes';
    const counter = reading ? reads : writes;
    if (counter.limit === 0) return;
    const { allowed, remaining, resetSeconds } = counter.take(request.caller);
    reply.header('ratelimit-policy', `"${name}";q=${counter.limit};w=60`);
    reply.header('ratelimit', `"${name}";r=${remaining};t=${resetSeconds}`);
    if (!allowed)
      throw new CompressionError('RATE_LIMITED', `This key may make ${counter.limit} ${name} a minute`, {
        retryAfterSeconds: resetSeconds,
      });
  }
}
