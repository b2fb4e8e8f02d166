import multipart from '@fastify/multipart';
import type { FastifyInstance } from 'fastify';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { validationError } from '../plugins/validation.ts';
import { SourceBody } from '../schemas/common.ts';
import { Spool } from '../storage/spool.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Bodies of an upload for the OpenAPI document; the handler checks them itself, because they are streams. */
    requestContent?: Readonly<Record<string, z.ZodType>>;
  }
}

/** Milliseconds without a byte after which an upload is given up. */
export const UPLOAD_IDLE_MS = 30_000;

/** Hands raw and multipart bodies through as streams, in the scope of the given instance only. */
export async function acceptUploads(app: FastifyInstance, options: { readonly multipart: boolean }): Promise<void> {
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
  if (options.multipart)
    await app.register(multipart, {
      preservePath: true,
      limits: { files: 256, fields: 0, parts: 256, headerPairs: 50, fileSize: Number.MAX_SAFE_INTEGER },
      throwFileSizeLimit: false,
    });
}

/** Refuses a body that is announced too large before a byte of it is read. */
export function checkAnnouncedLength(contentLength: string | undefined, maxBytes: number): void {
  if (contentLength !== undefined && Number(contentLength) > maxBytes)
    throw new CompressionError(
      'PAYLOAD_TOO_LARGE',
      `The upload has ${contentLength} bytes, the limit is ${maxBytes}; larger models can keep weights in external data`,
    );
}

export async function withSpool<T>(parent: string, use: (spool: Spool) => Promise<T>): Promise<T> {
  const spool = await Spool.create(parent);
  try {
    return await use(spool);
  } finally {
    await spool.dispose();
  }
}

export function isStream(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body && typeof body.pipe === 'function';
}

export function sourceBody(body: unknown): SourceBody {
  const result = SourceBody.safeParse(body);
  if (!result.success) throw validationError('body', result.error);
  return result.data;
}

export const BINARY_BODY = z.string().meta({ format: 'binary' });
