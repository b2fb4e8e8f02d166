import type { MultipartFile } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import { forbiddenText } from '../plugins/strict-json.ts';
import { locationProblem } from '../onnx/codec/external-data.ts';
import { ModelId, PageQuery, page, SourceBody } from '../schemas/common.ts';
import { ModelResource } from '../schemas/model.ts';
import { takeSource } from '../storage/content-resource.ts';
import type { NewModel } from '../storage/model-store.ts';
import type { Spool, SpooledFile } from '../storage/spool.ts';
import { checkNotInUse } from './in-use.ts';
import { RangeHeaders, sendBytes } from './byte-range.ts';
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

const Params = z.strictObject({ id: ModelId });

/** Models: upload, look, fetch, delete. */
export function modelRoutes(deps: AppDeps): FastifyPluginAsyncZod {
  const { config, models, inspector, spoolFolder } = deps;
  const find = async (tenant: string, id: string) => {
    const model = await models.get(tenant, id);
    if (model === undefined) throw new CompressionError('NOT_FOUND', `There is no model ${id}`);
    return model;
  };

  return async (app) => {
    await acceptUploads(app, { multipart: true });

    app.post(
      '/models',
      {
        schema: {
          tags: ['models'],
          summary: 'Upload a model, or take it from an allowed bucket',
          response: { 200: ModelResource, 201: ModelResource, ...problems(409, 422, 507) },
        },
        config: {
          requestContent: {
            'application/octet-stream': BINARY_BODY,
            'multipart/form-data': z.object({ model: BINARY_BODY, external: z.array(BINARY_BODY).optional() }),
            'application/json': SourceBody,
          },
        },
      },
      async (request, reply) => {
        const { model, created } = await withSpool(spoolFolder, async (spool) => {
          const upload = await receive(request, spool, deps);
          const paths = new Map([...upload.external].map(([location, file]) => [location, file.path]));
          return models.create(request.tenant, upload, () => inspector.model(upload.model.path, paths));
        });
        app.countUpload('model', model.bytes);
        return reply
          .code(created ? 201 : 200)
          .header('location', `/v1/models/${model.id}`)
          .send(model);
      },
    );

    app.get(
      '/models',
      {
        schema: {
          tags: ['models'],
          summary: 'List models, newest first',
          querystring: PageQuery,
          response: { 200: page(ModelResource), ...problems() },
        },
      },
      async (request) => models.list(request.tenant, request.query),
    );

    app.get(
      '/models/:id',
      {
        schema: {
          tags: ['models'],
          summary: 'What a model is',
          params: Params,
          response: { 200: ModelResource, ...problems() },
        },
      },
      async (request) => find(request.tenant, request.params.id),
    );

    app.get(
      '/models/:id/content',
      {
        schema: {
          tags: ['models'],
          summary: 'The model file',
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
        const model = await find(request.tenant, request.params.id);
        const external = model.externalData.reduce((sum, file) => sum + file.bytes, 0);
        return sendBytes(request, reply, {
          bytes: model.bytes - external,
          sha256: model.sha256,
          contentType: 'application/octet-stream',
          fileName: `${model.id}.onnx`,
          read: (range) => models.read(model, range),
        });
      },
    );

    app.delete(
      '/models/:id',
      {
        schema: {
          tags: ['models'],
          summary: 'Delete a model that no active job needs',
          params: Params,
          response: { 204: noContent, ...problems(409) },
        },
      },
      async (request, reply) => {
        const model = await find(request.tenant, request.params.id);
        await checkNotInUse(deps.jobs, request.tenant, model.id);
        await models.remove(request.tenant, model);
        return reply.code(204).send(undefined);
      },
    );
  };

  async function receive(request: FastifyRequest, spool: Spool, { sources }: AppDeps): Promise<NewModel> {
    const limits = { maxBytes: config.modelMaxBytes, idleMs: UPLOAD_IDLE_MS };
    checkAnnouncedLength(request.headers['content-length'], limits.maxBytes);
    if (request.isMultipart()) return receiveMultipart(request, spool, limits.maxBytes);
    const model = isStream(request.body)
      ? await spool.take('model', request.body, limits)
      : await takeSource(sourceBody(request.body), sources, { spool, name: 'model', limits });
    return { model, external: new Map() };
  }
}

/** `model` once, and `external` once for each file that its tensors lie in, named by location. All together stay under the limit. */
async function receiveMultipart(request: FastifyRequest, spool: Spool, maxBytes: number): Promise<NewModel> {
  let model: SpooledFile | undefined;
  const external = new Map<string, SpooledFile>();
  let left = maxBytes;
  for await (const part of partsOf(request)) {
    const limits = { maxBytes: left, idleMs: UPLOAD_IDLE_MS };
    let file: SpooledFile;
    if (part.fieldname === 'model' && model === undefined) {
      file = await spool.take('model', part.file, limits);
      model = file;
    } else if (part.fieldname === 'external') {
      const problem = locationProblem(part.filename) ?? forbiddenText(part.filename);
      if (problem !== undefined || external.has(part.filename)) {
        part.file.resume();
        throw new CompressionError(
          'MODEL_EXTERNAL_DATA',
          `external data location ${JSON.stringify(part.filename.slice(0, 200))} ${problem ?? 'was sent twice'}`,
        );
      }
      // A name of ours: the client's never reaches the file system.
      file = await spool.take(`external-${external.size}`, part.file, limits);
      external.set(part.filename, file);
    } else {
      part.file.resume();
      throw new CompressionError(
        'BODY_INVALID',
        `unexpected part ${JSON.stringify(part.fieldname.slice(0, 100))}; expected one model and any number of external`,
      );
    }
    left -= file.bytes;
  }
  if (model === undefined) throw new CompressionError('BODY_INVALID', 'the upload has no part named model');
  return { model, external };
}

/** The files of the upload; a body that is not the multipart it says it is becomes the client's error. */
async function* partsOf(request: FastifyRequest): AsyncGenerator<MultipartFile> {
  try {
    yield* request.files();
  } catch (error) {
    // The parser's own errors are plain; ours and Fastify's carry a code.
    if (!(error instanceof Error) || 'code' in error) throw error;
    throw new CompressionError('BODY_INVALID', `The body is not valid multipart/form-data: ${error.message}`, {
      cause: error,
    });
  }
}
