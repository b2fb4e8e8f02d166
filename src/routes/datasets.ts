import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import { forbiddenText } from '../plugins/strict-json.ts';
import { DatasetId, PageQuery, page, SourceBody } from '../schemas/common.ts';
import { DatasetName, DatasetResource } from '../schemas/dataset.ts';
import { takeSource } from '../storage/content-resource.ts';
import { RangeHeaders, sendBytes } from './byte-range.ts';
import { checkNotInUse } from './in-use.ts';
import { bytesResponse, noContent, notModified, problems } from './responses.ts';
import {
  acceptUploads,
  BINARY_BODY,
  checkAnnouncedLength,
  isStream,
  sourceBody,
  UPLOAD_IDLE_MS,
  withSpool,
} from './uploads.ts';

const Params = z.strictObject({ id: DatasetId });
const UploadQuery = z.strictObject({
  name: DatasetName.refine(
    (name) => forbiddenText(name) === undefined,
    'must not contain control characters',
  ).optional(),
});

/** Data sets: upload, look, fetch, delete. */
export function datasetRoutes(deps: AppDeps): FastifyPluginAsyncZod {
  const { config, datasets, inspector, sources, spoolFolder } = deps;
  const find = async (tenant: string, id: string) => {
    const dataset = await datasets.get(tenant, id);
    if (dataset === undefined) throw new CompressionError('NOT_FOUND', `There is no data set ${id}`);
    return dataset;
  };

  return async (app) => {
    await acceptUploads(app, { multipart: false });

    app.post(
      '/datasets',
      {
        schema: {
          tags: ['datasets'],
          summary:
            'Upload a data set (npz, npy, zip or tar of images in class folders, Parquet), or take it from an allowed bucket',
          querystring: UploadQuery,
          response: { 200: DatasetResource, 201: DatasetResource, ...problems(409, 422, 507) },
        },
        config: { requestContent: { 'application/octet-stream': BINARY_BODY, 'application/json': SourceBody } },
      },
      async (request, reply) => {
        const limits = { maxBytes: config.datasetMaxBytes, idleMs: UPLOAD_IDLE_MS };
        const { body }: { body: unknown } = request;
        checkAnnouncedLength(request.headers['content-length'], limits.maxBytes);
        const { dataset, created } = await withSpool(spoolFolder, async (spool) => {
          const file = isStream(body)
            ? await spool.take('dataset', body, limits)
            : await takeSource(sourceBody(body), sources, { spool, name: 'dataset', limits });
          return datasets.create(request.tenant, { file, name: request.query.name ?? null }, () =>
            inspector.dataset(file.path),
          );
        });
        app.countUpload('dataset', dataset.bytes);
        return reply
          .code(created ? 201 : 200)
          .header('location', `/v1/datasets/${dataset.id}`)
          .send(dataset);
      },
    );

    app.get(
      '/datasets',
      {
        schema: {
          tags: ['datasets'],
          summary: 'List data sets, newest first',
          querystring: PageQuery,
          response: { 200: page(DatasetResource), ...problems() },
        },
      },
      async (request) => datasets.list(request.tenant, request.query),
    );

    app.get(
      '/datasets/:id',
      {
        schema: {
          tags: ['datasets'],
          summary: 'What a data set is',
          params: Params,
          response: { 200: DatasetResource, ...problems() },
        },
      },
      async (request) => find(request.tenant, request.params.id),
    );

    app.get(
      '/datasets/:id/content',
      {
        schema: {
          tags: ['datasets'],
          summary: 'The file',
          params: Params,
          headers: RangeHeaders,
          response: {
            200: bytesResponse('The whole file', 'application/octet-stream'),
            206: bytesResponse('The range asked for', 'application/octet-stream'),
            304: notModified,
            ...problems(416),
          },
        },
      },
      async (request, reply) => {
        const dataset = await find(request.tenant, request.params.id);
        return sendBytes(request, reply, {
          bytes: dataset.bytes,
          sha256: dataset.sha256,
          contentType: 'application/octet-stream',
          fileName: dataset.id,
          read: (range) => datasets.read(dataset, range),
        });
      },
    );

    app.delete(
      '/datasets/:id',
      {
        schema: {
          tags: ['datasets'],
          summary: 'Delete a data set that no active job needs',
          params: Params,
          response: { 204: noContent, ...problems(409) },
        },
      },
      async (request, reply) => {
        const dataset = await find(request.tenant, request.params.id);
        await checkNotInUse(deps.jobs, request.tenant, dataset.id);
        await datasets.remove(request.tenant, dataset);
        return reply.code(204).send(undefined);
      },
    );
  };
}
