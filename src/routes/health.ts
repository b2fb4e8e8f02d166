import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import { problems } from './responses.ts';

const CHECK_TIMEOUT_MS = 2500;
const Alive = z.object({ status: z.literal('ok') });
const Ready = z.object({
  status: z.literal('ready'),
  checks: z.object({ store: z.literal('ok'), queue: z.literal('ok') }),
});

/** `/healthz`: the process answers. `/readyz`: store and queue answer too. */
export function healthRoutes({
  store,
  queue,
  logger,
}: Pick<AppDeps, 'store' | 'queue' | 'logger'>): FastifyPluginCallbackZod {
  return (app, _options, done) => {
    app.get(
      '/healthz',
      { schema: { tags: ['service'], summary: 'Alive', response: { 200: Alive, ...problems() } } },
      () => ({ status: 'ok' as const }),
    );

    app.get(
      '/readyz',
      { schema: { tags: ['service'], summary: 'Store and queue answer', response: { 200: Ready, ...problems() } } },
      async () => {
        const checks = { store: store.list('pending/', { limit: 1 }), queue: queue.ping() };
        const results = await Promise.allSettled(Object.values(checks).map(inTime));
        const failed = Object.keys(checks).filter((_name, index) => results[index]?.status === 'rejected');
        if (failed.length > 0) {
          for (const result of results)
            if (result.status === 'rejected') logger.warn({ err: result.reason as unknown }, 'not ready');
          throw new CompressionError(
            failed.includes('store') ? 'OBJECT_STORE_UNAVAILABLE' : 'QUEUE_UNAVAILABLE',
            `Not ready: no answer from ${failed.join(' and ')}`,
          );
        }
        return { status: 'ready' as const, checks: { store: 'ok' as const, queue: 'ok' as const } };
      },
    );
    done();
  };
}

async function inTime(check: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
  });
  try {
    await Promise.race([check, late]);
  } finally {
    clearTimeout(timer);
  }
}
