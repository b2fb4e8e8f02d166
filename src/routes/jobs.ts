import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import { headerValues } from '../plugins/header-values.ts';
import { planJob } from '../recipes/plan-job.ts';
import { BooleanQuery, JobId, ModelId, PageQuery, page } from '../schemas/common.ts';
import { jobView, statusOf } from '../schemas/job-view.ts';
import { CreateJob, Job, JobStatus, type JobRecord } from '../schemas/job.ts';
import { DryRun } from '../schemas/plan.ts';
import { IDEMPOTENCY_KEY, idempotencyOf } from './idempotency.ts';
import { noContent, problems } from './responses.ts';

export const JobParams = z.strictObject({ id: JobId });

const ListQuery = PageQuery.extend({
  status: JobStatus.optional(),
  model: ModelId.optional(),
  parent: JobId.optional().describe('The trials of this search instead, in the order it asked for them'),
  trials: BooleanQuery.describe('The trials of all searches instead of the jobs'),
});
const CreateQuery = z.strictObject({ dryRun: BooleanQuery.describe('Validate, plan and estimate; store nothing') });
const CreateHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .optional()
    .meta({ pattern: IDEMPOTENCY_KEY.source })
    .describe('The same key with the same body gives the same job, for 24 hours; a UUID for example'),
});

/** The tenant's job. @throws CompressionError NOT_FOUND */
export async function findJob(deps: AppDeps, tenant: string, id: string): Promise<JobRecord> {
  const record = await deps.jobs.get(tenant, id);
  if (record === undefined) throw new CompressionError('NOT_FOUND', `There is no job ${id}`);
  return record;
}

/** Jobs: create, look, cancel, delete. */
export function jobRoutes(deps: AppDeps): FastifyPluginCallbackZod {
  const { config, jobs } = deps;
  const view = async (record: JobRecord): Promise<Job> =>
    jobView(record, statusOf(record) === 'queued' ? await jobs.position(record.id) : null);

  return (app, _options, done) => {
    app.post(
      '/jobs',
      {
        schema: {
          tags: ['jobs'],
          summary: 'Run a recipe on a model',
          body: CreateJob,
          querystring: CreateQuery,
          headers: CreateHeaders,
          response: { 200: DryRun, 202: Job, ...problems(409, 422) },
        },
      },
      async (request, reply) => {
        const idempotency = idempotencyOf(headerValues(request, 'idempotency-key'), request.body);
        const { job, dryRun } = await planJob(request.tenant, request.body, {
          models: deps.models,
          datasets: deps.datasets,
          limits: config,
          checkWebhookUrl: deps.checkWebhookUrl,
        });
        if (request.query.dryRun) return reply.code(200).send(dryRun);
        await checkQuota(request.tenant);
        const { record, replayed } = await jobs.submit(job, idempotency);
        if (replayed) reply.header('idempotent-replayed', 'true');
        return reply
          .code(202)
          .header('location', `/v1/jobs/${record.id}`)
          .send(await view(record));
      },
    );

    app.get(
      '/jobs',
      {
        schema: {
          tags: ['jobs'],
          summary: 'List jobs, newest first; trials of searches only when asked for',
          querystring: ListQuery,
          response: { 200: page(Job), ...problems() },
        },
      },
      async (request) => {
        const { limit, cursor, status, model, parent, trials } = request.query;
        // A search of somebody else is not there, like any job.
        if (parent !== undefined) await findJob(deps, request.tenant, parent);
        const { items, nextCursor } = await jobs.list(request.tenant, {
          limit,
          trials,
          ...(parent === undefined ? {} : { parent }),
          ...(cursor === undefined ? {} : { cursor }),
          ...(status === undefined ? {} : { status }),
          ...(model === undefined ? {} : { model }),
        });
        return { items: await Promise.all(items.map(view)), nextCursor };
      },
    );

    app.get(
      '/jobs/:id',
      {
        schema: { tags: ['jobs'], summary: 'A job', params: JobParams, response: { 200: Job, ...problems() } },
      },
      async (request) => view(await findJob(deps, request.tenant, request.params.id)),
    );

    app.post(
      '/jobs/:id/cancel',
      {
        schema: {
          tags: ['jobs'],
          summary: 'Ask a job to stop; one that is over stays as it is',
          params: JobParams,
          response: { 202: Job, ...problems(409) },
        },
      },
      async (request, reply) => {
        const record = await jobs.cancel(request.tenant, request.params.id);
        return reply.code(202).send(await view(record));
      },
    );

    app.delete(
      '/jobs/:id',
      {
        schema: {
          tags: ['jobs'],
          summary: 'Remove a job that is over, with its artifacts',
          params: JobParams,
          response: { 204: noContent, ...problems(409) },
        },
      },
      async (request, reply) => {
        await jobs.remove(request.tenant, request.params.id);
        return reply.code(204).send(undefined);
      },
    );
    done();
  };

  async function checkQuota(tenant: string): Promise<void> {
    const limit = config.tenantMaxActiveJobs;
    if ((await jobs.activeIds(tenant, limit)).length >= limit)
      throw new CompressionError(
        'QUOTA_EXCEEDED',
        `${limit} jobs of this tenant are queued or running, the most allowed`,
        {
          retryAfterSeconds: 30,
        },
      );
  }
}
