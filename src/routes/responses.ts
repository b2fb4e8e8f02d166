import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import { PROBLEM_TYPE } from '../plugins/problem.ts';
import { Problem } from '../schemas/common.ts';

/** What every route under /v1 may answer besides its own: authentication, limits, malformed requests, trouble behind. */
const COMMON = [400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 500, 503] as const;

interface ContentResponse {
  readonly description: string;
  readonly content: Readonly<Record<string, { readonly schema: z.ZodType }>>;
}

/** Problem documents for the common statuses and those named. */
export function problems(...statuses: readonly number[]): Readonly<Record<number, ContentResponse>> {
  return Object.fromEntries(
    [...new Set([...COMMON, ...statuses])].map((status) => [
      status,
      { description: STATUS_CODES[status] ?? 'Problem', content: { [PROBLEM_TYPE]: { schema: Problem } } },
    ]),
  );
}

const bytes = z.string().meta({ format: 'binary' });

/** Bytes of some content type. */
export function bytesResponse(description: string, ...types: readonly string[]): ContentResponse {
  return { description, content: Object.fromEntries(types.map((type) => [type, { schema: bytes }])) };
}

/** Stored JSON of a schema, sent as it was stored, or the same for people. */
export function documentResponse(description: string, schema: z.ZodType): ContentResponse {
  return { description, content: { 'application/json': { schema }, 'text/html': { schema: bytes } } };
}

/** If-None-Match named the content that is there. */
export const notModified = z.undefined().describe('Not modified').meta({ type: 'null' });

/** No body. */
export const noContent = z.undefined().describe('Done; no body').meta({ type: 'null' });
