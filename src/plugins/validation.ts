import type { FastifySchemaCompiler } from 'fastify';
import type { core } from 'zod';
import { z } from 'zod';
import { CompressionError, type ErrorCode, type ErrorPlace } from '../errors.ts';

const MAX_PLACES = 50;

/** RFC 6901. */
export function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

const ROOT_MISMATCH: ReadonlySet<string> = new Set(['invalid_type', 'invalid_value']);

/** How deep the first wrong place of a branch lies: the branch that got furthest is the one that was meant. */
function depthOf(issues: readonly core.$ZodIssue[]): number {
  return issues.reduce((depth, issue) => Math.max(depth, issue.path.length), 0);
}

/** A zod issue as places in the body: unions opened up, one place for each unknown field. */
export function placesOf(issues: readonly core.$ZodIssue[], base: readonly PropertyKey[] = []): ErrorPlace[] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path];
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ pointer: pointerOf([...path, key]), message: 'unknown field' }));
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      // A branch whose type or value is wrong at the root was not meant; of the rest, the one that got furthest.
      const meant = issue.errors
        .filter((branch) => branch.some((inner) => inner.path.length > 0 || !ROOT_MISMATCH.has(inner.code)))
        .sort((a, b) => depthOf(b) - depthOf(a))[0];
      if (meant !== undefined) return placesOf(meant, path);
    }
    return [{ pointer: pointerOf(path), message: issue.message }];
  });
}

const PART_CODES: Readonly<Record<string, ErrorCode>> = {
  body: 'BODY_INVALID',
  querystring: 'QUERY_INVALID',
  params: 'NOT_FOUND',
  headers: 'BAD_REQUEST',
};
const PART_WORDS: Readonly<Record<string, string>> = { body: 'body', querystring: 'query', headers: 'headers' };

/** The error a request gets whose part does not fit its schema. */
export function validationError(part: string, error: z.ZodError): CompressionError {
  const places = placesOf(error.issues);
  const first = places[0] ?? { pointer: '', message: 'invalid' };
  const code =
    part === 'body' && places.every((place) => place.pointer.startsWith('/recipe'))
      ? 'RECIPE_INVALID'
      : (PART_CODES[part] ?? 'BAD_REQUEST');
  // An id that cannot be one is an id that is not there.
  if (part === 'params') return new CompressionError('NOT_FOUND', `There is nothing at this path: ${first.message}`);
  const more = places.length > 1 ? ` (and ${places.length - 1} more)` : '';
  return new CompressionError(
    code,
    `The ${PART_WORDS[part] ?? part} is not valid: ${first.pointer === '' ? '' : `${first.pointer} `}${first.message}${more}`,
    { places: places.slice(0, MAX_PLACES) },
  );
}

/** Fastify validates with the zod schemas as they are: nothing is coerced, nothing unknown is dropped. */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> = ({ schema, httpPart }) => {
  return (data: unknown) => {
    const result = schema.safeParse(data);
    return result.success ? { value: result.data } : { error: validationError(httpPart ?? 'body', result.error) };
  };
};
