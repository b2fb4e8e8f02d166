import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { CompressionError } from '../errors.ts';

const SWEEP_MS = 50;
/** How long a connection that has not sent a whole request yet may still do so once the service stops. */
const STOP_GRACE_MS = 500;

/**
 * Limits open connections, and lets none hold up a stop. Above the limit a request is told to come back; far above it,
 * the connection is not even taken.
 */
export function registerConnections(app: FastifyInstance, limit: number): void {
  const open = new Set<Socket>();
  const busy = new Set<Socket>();
  app.server.maxConnections = limit + Math.ceil(limit / 4);
  app.server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  app.server.on('request', ({ socket }, response) => {
    busy.add(socket);
    response.once('close', () => busy.delete(socket));
  });

  app.addHook('onRequest', (_request, reply, done) => {
    if (open.size <= limit) {
      done();
      return;
    }
    reply.header('connection', 'close');
    done(new CompressionError('OVERLOADED', 'Too many connections; retry later', { retryAfterSeconds: 2 }));
  });

  // Node closes what is idle when the stop begins; not what becomes idle later, nor what never sent a request.
  app.addHook('preClose', (done) => {
    const since = performance.now();
    const timer = setInterval(() => {
      app.server.closeIdleConnections();
      if (performance.now() - since < STOP_GRACE_MS) return;
      for (const socket of open) if (!busy.has(socket)) socket.destroy();
    }, SWEEP_MS);
    app.server.once('close', () => clearInterval(timer));
    timer.unref();
    done();
  });
}
