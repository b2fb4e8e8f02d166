import { Readable } from 'node:stream';
import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import type { JobEvent } from '../jobs/job-service.ts';
import { TERMINAL_STATUSES, type JobEventType } from '../schemas/job.ts';
import { findJob, JobParams } from './jobs.ts';
import { bytesResponse, problems } from './responses.ts';

const HEARTBEAT_MS = 15_000;
/** How long to wait for the last event of a job that is over, before looking again. */
const LAST_EVENT_MS = 500;
const TERMINAL_EVENTS: ReadonlySet<JobEventType> = new Set<JobEventType>([
  'job.succeeded',
  'job.failed',
  'job.canceled',
]);

const EventHeaders = z.looseObject({
  'last-event-id': z.string().optional().describe('Resume after this event'),
});

/** `GET /v1/jobs/{id}/events`: server-sent events from the job's event log, live until the job is over. */
export function eventRoutes(deps: AppDeps): FastifyPluginCallbackZod {
  return (app, _options, done) => {
    // Streams would keep the server from closing; this ends them, and clients resume elsewhere.
    const closing = new AbortController();
    app.addHook('preClose', (closed) => {
      closing.abort();
      closed();
    });

    app.get(
      '/jobs/:id/events',
      {
        // HEAD would read the stream to its end, unseen.
        exposeHeadRoute: false,
        schema: {
          tags: ['jobs'],
          summary: 'Follow a job (server-sent events)',
          params: JobParams,
          headers: EventHeaders,
          response: { 200: bytesResponse('Events until the job is over', 'text/event-stream'), ...problems() },
        },
      },
      async (request, reply) => {
        const { id } = request.params;
        const after = lastEventId(request.headers['last-event-id']);
        await findJob(deps, request.tenant, id);
        const gone = new AbortController();
        reply.raw.once('close', () => gone.abort());
        const signal = AbortSignal.any([gone.signal, closing.signal]);
        return reply
          .type('text/event-stream; charset=utf-8')
          .header('cache-control', 'no-cache, no-transform')
          .header('x-accel-buffering', 'no')
          .send(Readable.from(eventStream(deps, { tenant: request.tenant, id, after, signal }), { objectMode: false }));
      },
    );
    done();
  };
}

interface Subscription {
  readonly tenant: string;
  readonly id: string;
  readonly after: number;
  readonly signal: AbortSignal;
}

/**
 * The text of the stream. A slow client holds the generator back (one chunk ahead at most), so nothing piles up in
 * memory: the log is read again from where the client is.
 */
async function* eventStream(deps: AppDeps, subscription: Subscription): AsyncGenerator<string> {
  const { tenant, id, signal } = subscription;
  let { after } = subscription;
  let lastWrite = performance.now();
  yield 'retry: 2000\n\n';
  while (!signal.aborted) {
    // Asked before the log is read: an event that comes in between is seen in the next round, not lost.
    const record = await deps.jobs.get(tenant, id);
    if (record === undefined) return;
    const events = await deps.jobs.events(tenant, id, after);
    for (const event of events) {
      lastWrite = performance.now();
      yield frame(event);
      after = event.id;
      if (TERMINAL_EVENTS.has(event.type)) return;
    }
    // The record turns terminal just before the last event is written. Whoever resumes after that event has seen it all.
    const over = events.length === 0 && TERMINAL_STATUSES.has(record.status);
    if (
      over &&
      (await deps.jobs.events(tenant, id, 0)).some((event) => event.id <= after && TERMINAL_EVENTS.has(event.type))
    )
      return;
    if (events.length > 0) continue;
    await deps.jobs.waitForChange(id, over ? LAST_EVENT_MS : HEARTBEAT_MS, signal);
    // A comment keeps proxies and our own idle limit from closing a stream on which nothing happens.
    if (performance.now() - lastWrite >= HEARTBEAT_MS - 50) {
      lastWrite = performance.now();
      yield ': heartbeat\n\n';
    }
  }
}

function frame(event: JobEvent): string {
  const data = JSON.stringify({ type: event.type, at: event.at, ...event.data });
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${data}\n\n`;
}

function lastEventId(header: string | string[] | undefined): number {
  if (header === undefined || header === '') return 0;
  if (typeof header !== 'string' || !/^[0-9]{1,12}$/.test(header))
    throw new CompressionError(
      'BAD_REQUEST',
      'Last-Event-ID must be the id of an event of this stream, a whole number',
    );
  return Number(header);
}
