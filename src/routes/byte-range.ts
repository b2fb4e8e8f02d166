import type { FastifyReply, FastifyRequest } from 'fastify';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { CompressionError } from '../errors.ts';

export const RangeHeaders = z.looseObject({
  range: z.string().optional().describe('bytes=first-last, bytes=first- or bytes=-count; one range'),
  'if-range': z.string().optional().describe('The ETag the range belongs to'),
  'if-none-match': z.string().optional(),
});

/** A stored content, ready to be sent whole or in part. */
export interface Content {
  readonly bytes: number;
  readonly sha256: string;
  readonly contentType: string;
  readonly fileName: string;
  /** Shown in the browser instead of saved. */
  readonly inline?: boolean;
  read(range?: { readonly start: number; readonly end: number }): Promise<Readable>;
}

/** GET and HEAD of bytes: RFC 9110 ranges (one), ETag (the SHA-256), If-Range, If-None-Match. */
export async function sendBytes(request: FastifyRequest, reply: FastifyReply, content: Content): Promise<FastifyReply> {
  const etag = `"${content.sha256}"`;
  reply.header('etag', etag);
  reply.header('accept-ranges', 'bytes');
  reply.header('cache-control', 'private, no-cache');
  reply.header('content-disposition', content.inline === true ? 'inline' : contentDisposition(content.fileName));
  if (matchesEtag(request.headers['if-none-match'], etag)) return reply.code(304).send();
  reply.type(content.contentType);
  const ifRange = request.headers['if-range'];
  const wanted =
    ifRange === undefined || ifRange === etag ? parseRange(request.headers.range, content.bytes) : undefined;
  if (wanted === 'unsatisfiable') {
    throw new CompressionError(
      'RANGE_NOT_SATISFIABLE',
      `The range lies outside of the ${content.bytes} bytes there are`,
    );
  }
  const length = wanted === undefined ? content.bytes : wanted.end - wanted.start + 1;
  reply.header('content-length', String(length));
  if (wanted !== undefined)
    reply.code(206).header('content-range', `bytes ${wanted.start}-${wanted.end}/${content.bytes}`);
  // An empty stream: Fastify's HEAD keeps our Content-Length then, and nothing is read from the store.
  if (request.method === 'HEAD') return reply.send(Readable.from([]));
  if (content.bytes === 0) return reply.send('');
  return reply.send(await content.read(wanted));
}

/**
 * One byte range of RFC 9110, 14.1.2. Undefined for the whole: no header, another unit, several ranges, bad syntax (all
 * of which a server may ignore).
 */
export function parseRange(
  header: string | undefined,
  bytes: number,
): { readonly start: number; readonly end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '');
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '') {
    if (last === '') return undefined;
    const count = Math.min(Number(last), bytes);
    return count === 0 ? 'unsatisfiable' : { start: bytes - count, end: bytes - 1 };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return undefined;
  if (start >= bytes) return 'unsatisfiable';
  return { start, end: last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1) };
}

function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((part) => part.trim().replace(/^W\//, '') === etag || part.trim() === '*');
}

/** RFC 6266: always an attachment, with a plain name for old clients and the exact one encoded. */
export function contentDisposition(fileName: string): string {
  const plain = fileName.replace(/[^A-Za-z0-9._-]/g, '_');
  const encoded = encodeURIComponent(fileName.replace(/\p{Surrogate}/gu, '_')).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return plain === fileName
    ? `attachment; filename="${plain}"`
    : `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
