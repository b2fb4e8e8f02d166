import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import { attemptPrefix } from '../jobs/job-keys.ts';
import { ArtifactName, ArtifactResource } from '../schemas/artifact.ts';
import { BooleanQuery, page } from '../schemas/common.ts';
import { TERMINAL_STATUSES, type ArtifactEntry, type JobRecord, type Manifest } from '../schemas/job.ts';
import { JobId } from '../schemas/common.ts';
import { statusOf } from '../schemas/job-view.ts';
import { Report } from '../schemas/report.ts';
import { RangeHeaders, sendBytes } from './byte-range.ts';
import { findJob, JobParams } from './jobs.ts';
import { bytesResponse, documentResponse, notModified, problems } from './responses.ts';

const ReportQuery = z.strictObject({
  format: z.enum(['json', 'html']).optional().describe('Default: what Accept asks for, else json'),
});
const DownloadQuery = z.strictObject({
  redirect: BooleanQuery.describe('Answer 302 to a presigned URL where the store has such (S3)'),
});
const PRESIGNED_SECONDS = 900;

/** The file of an attempt that holds its log, one JSON object a line; written by the worker parent. */
const LOG_NAME = 'log.jsonl';

interface Output {
  readonly record: JobRecord;
  readonly manifest: Manifest;
  readonly entry: ArtifactEntry;
  readonly inline?: boolean;
}

/** What a finished job left: report, artifacts, logs. */
export function artifactRoutes(deps: AppDeps): FastifyPluginCallbackZod {
  return (app, _options, done) => {
    app.get(
      '/jobs/:id/report',
      {
        schema: {
          tags: ['jobs'],
          summary: 'The report, as JSON or as a page',
          params: JobParams,
          querystring: ReportQuery,
          headers: RangeHeaders,
          response: {
            200: documentResponse('The report', Report),
            206: bytesResponse('The range asked for', 'application/json', 'text/html'),
            304: notModified,
            ...problems(406, 409, 416),
          },
        },
      },
      async (request, reply) => {
        const { record, manifest } = await finished(request.tenant, request.params.id);
        const format = request.query.format ?? acceptedFormat(request.headers.accept);
        const entry = manifest.artifacts.find(({ kind }) => kind === `report-${format}`);
        if (entry === undefined)
          throw new CompressionError(
            'NOT_FOUND',
            record.trial === undefined
              ? `Job ${record.id} has no report as ${format}`
              : `Job ${record.id} is a trial that was measured in brief, without a report; its artifact trial.json has the figures`,
          );
        reply.header('vary', 'accept');
        // The page carries its own styles and charts; it may run nothing and load nothing.
        if (format === 'html')
          reply.header(
            'content-security-policy',
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
          );
        return sendEntry(request, reply, { record, manifest, entry, inline: true });
      },
    );

    app.get(
      '/jobs/:id/artifacts',
      {
        schema: {
          tags: ['jobs'],
          summary: 'What the job made',
          params: JobParams,
          response: { 200: page(ArtifactResource), ...problems(409) },
        },
      },
      async (request) => {
        const { record, manifest } = await finished(request.tenant, request.params.id);
        const items = manifest.artifacts.map((entry) => ({
          ...entry,
          url: `/v1/jobs/${record.id}/artifacts/${encodeURIComponent(entry.name)}`,
        }));
        return { items, nextCursor: null };
      },
    );

    app.get(
      '/jobs/:id/artifacts/:name',
      {
        schema: {
          tags: ['jobs'],
          summary: 'The bytes of an artifact',
          params: z.strictObject({ id: JobId, name: ArtifactName }),
          querystring: DownloadQuery,
          headers: RangeHeaders,
          response: {
            200: bytesResponse('The whole file', 'application/octet-stream'),
            206: bytesResponse('The range asked for', 'application/octet-stream'),
            304: notModified,
            302: bytesResponse('Moved to a presigned URL', 'text/plain'),
            ...problems(409, 416),
          },
        },
      },
      async (request, reply) => {
        const { id, name } = request.params;
        const { record, manifest } = await finished(request.tenant, id);
        const entry = manifest.artifacts.find((candidate) => candidate.name === name);
        if (entry === undefined)
          throw new CompressionError(
            'NOT_FOUND',
            `Job ${id} has no artifact ${name}; GET /v1/jobs/${id}/artifacts lists them`,
          );
        if (request.query.redirect) {
          const url = await deps.store.presign(keyOf(record, manifest, name), {
            expiresSeconds: PRESIGNED_SECONDS,
            fileName: name,
          });
          if (url !== undefined) return reply.header('cache-control', 'no-store').redirect(url, 302);
        }
        return sendEntry(request, reply, { record, manifest, entry });
      },
    );

    app.get(
      '/jobs/:id/logs',
      {
        schema: {
          tags: ['jobs'],
          summary: 'Log lines of all attempts that ended, oldest first',
          params: JobParams,
          response: { 200: bytesResponse('JSON lines', 'application/x-ndjson'), ...problems() },
        },
      },
      async (request, reply) => {
        const record = await findJob(deps, request.tenant, request.params.id);
        return reply
          .type('application/x-ndjson; charset=utf-8')
          .header('cache-control', 'no-store')
          .send(Readable.from(logLines(record), { objectMode: false }));
      },
    );
    done();
  };

  async function* logLines(record: JobRecord): AsyncGenerator<Uint8Array> {
    for (let attempt = 1; attempt <= record.attempt; attempt += 1) {
      const stream = await deps.store.read(attemptPrefix(record.tenant, record.id, attempt) + LOG_NAME);
      if (stream !== undefined) yield* stream as AsyncIterable<Uint8Array>;
    }
  }

  /** @throws CompressionError NOT_FOUND, NOT_READY while the job is at work, CONFLICT when it ended without a result */
  async function finished(tenant: string, id: string): Promise<{ record: JobRecord; manifest: Manifest }> {
    const record = await findJob(deps, tenant, id);
    if (!TERMINAL_STATUSES.has(record.status))
      throw new CompressionError(
        'NOT_READY',
        `Job ${id} is ${statusOf(record)}; its results are there once it has succeeded`,
        {
          retryAfterSeconds: 2,
        },
      );
    const manifest = await deps.jobs.manifest(tenant, id);
    if (manifest === undefined)
      throw new CompressionError(
        'CONFLICT',
        `Job ${id} ${record.status === 'canceled' ? 'was canceled' : 'failed'}: it has no results, GET /v1/jobs/${id} says why`,
      );
    return { record, manifest };
  }

  async function sendEntry(
    request: FastifyRequest,
    reply: FastifyReply,
    { record, manifest, entry, inline = false }: Output,
  ): Promise<FastifyReply> {
    const key = keyOf(record, manifest, entry.name);
    return sendBytes(request, reply, {
      bytes: entry.bytes,
      sha256: entry.sha256,
      contentType: entry.contentType,
      fileName: entry.name,
      inline,
      read: async (range) => {
        const stream = await deps.store.read(key, range);
        if (stream === undefined) throw new CompressionError('INTERNAL', `artifact ${key} is not in the store`);
        return stream;
      },
    });
  }
}

function keyOf(record: JobRecord, manifest: Manifest, name: string): string {
  return attemptPrefix(record.tenant, record.id, manifest.attempt) + name;
}

/** A browser gets the page, everything else the data. @throws CompressionError NOT_ACCEPTABLE */
function acceptedFormat(accept: string | undefined): 'json' | 'html' {
  if (accept === undefined || accept.trim() === '') return 'json';
  const types = accept.split(',').map((part) => (part.split(';', 1)[0] ?? '').trim().toLowerCase());
  const html = types.findIndex((type) => type === 'text/html');
  const json = types.findIndex((type) => ['application/json', 'application/*', '*/*'].includes(type));
  if (html >= 0 && (json < 0 || html < json)) return 'html';
  if (json >= 0) return 'json';
  if (types.includes('text/*')) return 'html';
  throw new CompressionError('NOT_ACCEPTABLE', 'The report comes as application/json or text/html');
}
