import type { FastifySchemaCompiler } from 'fastify';
import { z } from 'zod';
import { CompressionError, type ErrorCode } from '../errors.ts';
import { placesOf } from '../schemas/error-places.ts';

const MAX_PLACES = 50;

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
