import type { FastifyInstance, FastifyRequest } from 'fastify';
import { CompressionError } from '../errors.ts';
import { parseStrictJson } from './strict-json.ts';

export const JSON_MAX_BYTES = 256 * 1024;
const MAX_HEADERS = 100;
const BODY_TIMEOUT_MS = 15_000;

const JSON_TYPE = /^application\/json[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?$/i;
const BINARY_TYPE = /^application\/octet-stream$/i;
const MULTIPART_TYPE =
  /^multipart\/form-data[ \t]*;[ \t]*boundary=("[^"\r\n]{1,70}"|[A-Za-z0-9'()+_,./:=?-]{1,70})[ \t]*$/i;

/**
 * What a request must be before a route sees it: few headers, a body type that is really one of ours (Fastify's own
 * parsing of Content-Type has been tricked before: CVE-2025-32442, CVE-2026-25223, CVE-2026-3419), no inbound
 * encodings, JSON that arrives in time.
 */
export function registerRequestGuards(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    checkHead(request);
    done();
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer', bodyLimit: JSON_MAX_BYTES },
    (_request, body: Buffer, done) => {
      try {
        done(null, parseStrictJson(body));
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    },
  );

  // Uploads have an idle limit of their own; a JSON body is small and must simply be there.
  app.addHook('preParsing', (request, _reply, payload, next) => {
    if (request.headers['content-type']?.toLowerCase().startsWith('application/json') === true) {
      const timer = setTimeout(() => {
        // To whoever reads the body; destroying the request would take the socket along, and the answer with it.
        if (payload.listenerCount('error') > 0)
          payload.emit('error', new CompressionError('REQUEST_TIMEOUT', 'The body took too long to arrive'));
      }, BODY_TIMEOUT_MS);
      payload.once('close', () => clearTimeout(timer));
      payload.once('end', () => clearTimeout(timer));
    }
    next(null, payload);
  });
}

/** @throws CompressionError HEADERS_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE */
function checkHead(request: FastifyRequest): void {
  if (request.raw.rawHeaders.length > 2 * MAX_HEADERS)
    throw new CompressionError('HEADERS_TOO_LARGE', `A request may have at most ${MAX_HEADERS} headers`);
  const { headers } = request;
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw new CompressionError('UNSUPPORTED_MEDIA_TYPE', 'Content-Encoding is not supported: send the body as it is');
  const type = headers['content-type'];
  if (type !== undefined && ![JSON_TYPE, BINARY_TYPE, MULTIPART_TYPE].some((pattern) => pattern.test(type)))
    throw new CompressionError(
      'UNSUPPORTED_MEDIA_TYPE',
      'Content-Type must be application/json (utf-8), or application/octet-stream or multipart/form-data where an upload is taken',
    );
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  if (type === undefined && hasBody)
    throw new CompressionError('UNSUPPORTED_MEDIA_TYPE', 'A body needs a Content-Type, for example application/json');
}
