import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.ts';
import { CompressionError } from '../errors.ts';

export const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The request's key and what it stands for. Undefined without the header.
 *
 * @param given - every value of the header that was sent
 * @throws CompressionError IDEMPOTENCY_KEY_INVALID
 */
export function idempotencyOf(
  given: readonly string[],
  body: unknown,
): { readonly key: string; readonly bodySha256: string } | undefined {
  if (given.length === 0) return undefined;
  const [key = ''] = given;
  if (given.length !== 1 || !IDEMPOTENCY_KEY.test(key))
    throw new CompressionError(
      'IDEMPOTENCY_KEY_INVALID',
      'Idempotency-Key must be one value of 1 to 255 printable ASCII characters without spaces, a UUID for example',
    );
  return { key, bodySha256: createHash('sha256').update(canonicalJson(body)).digest('hex') };
}
