import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';
import { CompressionError, type ErrorCode, ERROR_CODES } from '../errors.ts';
import type { Problem } from '../schemas/common.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** Words for people, one a code: the RFC 9457 title is the same for every occurrence of a problem. */
function titleOf(code: ErrorCode): string {
  const words = code.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What a client is told of an error. The text of an unexpected one stays in the log: it may hold paths or secrets. */
export function problemOf(error: CompressionError, instance?: string): Problem {
  const hidden = error.code === 'INTERNAL' || error.code === 'CONFIG_INVALID';
  return {
    type: `urn:tersor:error:${error.code}`,
    title: titleOf(error.code),
    status: error.httpStatus,
    detail: hidden
      ? 'The service failed to answer this request. Retry; if it persists, give the request id to the operator.'
      : error.message,
    ...(instance === undefined ? {} : { instance }),
    code: error.code,
    ...(error.places.length === 0 ? {} : { errors: [...error.places] }),
  };
}

/** Fastify's own errors and Node's, in our words. Undefined for what is really unexpected. */
const FASTIFY_CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['PAYLOAD_TOO_LARGE', 'The body is larger than this endpoint takes'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['UNSUPPORTED_MEDIA_TYPE', 'This endpoint does not take this Content-Type'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['BAD_REQUEST', 'Content-Length does not match the length of the body'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['BODY_INVALID', 'The body is empty, expected a JSON object'],
  FST_ERR_CTP_INVALID_JSON_BODY: ['BODY_INVALID', 'The body is not valid JSON'],
  FST_ERR_BAD_URL: ['BAD_REQUEST', 'The path is not a valid percent-encoded URL'],
  FST_ERR_MAX_PARAM_LENGTH: ['NOT_FOUND', 'There is nothing at this path: a part of it is too long'],
  FST_ERR_ASYNC_CONSTRAINT: ['BAD_REQUEST', 'The request does not fit any route'],
  FST_REQ_FILE_TOO_LARGE: ['PAYLOAD_TOO_LARGE', 'A part of the upload is larger than this endpoint takes'],
  FST_FILES_LIMIT: ['PAYLOAD_TOO_LARGE', 'The upload has too many files'],
  FST_PARTS_LIMIT: ['PAYLOAD_TOO_LARGE', 'The upload has too many parts'],
  FST_FIELDS_LIMIT: ['PAYLOAD_TOO_LARGE', 'The upload has too many fields'],
  FST_PROTO_VIOLATION: ['BODY_INVALID', 'A part of the upload has a forbidden name'],
  FST_INVALID_MULTIPART_CONTENT_TYPE: ['UNSUPPORTED_MEDIA_TYPE', 'multipart/form-data needs a boundary'],
  ECONNRESET: ['BAD_REQUEST', 'The connection was closed before the body was complete'],
};

/** Turns whatever was thrown into our error class; an unexpected one becomes INTERNAL with the original as its cause. */
export function toCompressionError(error: unknown): CompressionError {
  if (error instanceof CompressionError) return error;
  const { code, statusCode } = Object(error) as { code?: unknown; statusCode?: unknown };
  const known = typeof code === 'string' && Object.hasOwn(FASTIFY_CODES, code) ? FASTIFY_CODES[code] : undefined;
  if (known !== undefined) return new CompressionError(known[0], known[1], { cause: error });
  // A client's fault that we have no better words for (busboy, body streams that broke).
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return new CompressionError(
      statusCode === 413 ? 'PAYLOAD_TOO_LARGE' : statusCode === 415 ? 'UNSUPPORTED_MEDIA_TYPE' : 'BAD_REQUEST',
      STATUS_CODES[statusCode] ?? 'Bad request',
      { cause: error },
    );
  return new CompressionError('INTERNAL', 'unexpected error', { cause: error });
}

const LINGER_MS = 5000;

/**
 * After a refusal in the middle of an upload Node reads the rest and drops it, so that the client gets to the answer
 * instead of a reset; a client that does not stop is cut off.
 */
function endUnreadBody(reply: FastifyReply): void {
  const { raw } = reply.request;
  if (raw.complete) return;
  reply.raw.once('finish', () => {
    const timer = setTimeout(() => {
      if (!raw.complete) raw.destroy();
    }, LINGER_MS);
    timer.unref();
    raw.once('close', () => clearTimeout(timer));
  });
}

/** The one writer of errors. */
export async function sendProblem(reply: FastifyReply, error: CompressionError): Promise<void> {
  const problem = problemOf(error, reply.request.id === '' ? undefined : `urn:request:${reply.request.id}`);
  const retryAfter =
    error.retryAfterSeconds ?? (ERROR_CODES[error.code].retryable && error.httpStatus === 503 ? 2 : undefined);
  if (retryAfter !== undefined) reply.header('retry-after', String(Math.ceil(retryAfter)));
  for (const name of [
    'content-disposition',
    'content-range',
    'content-length',
    'etag',
    'last-modified',
    'accept-ranges',
  ])
    reply.removeHeader(name);
  reply.header('cache-control', 'no-store');
  endUnreadBody(reply);
  await reply
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(problem);
}
