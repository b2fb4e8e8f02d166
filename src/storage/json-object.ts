import type { z } from 'zod';
import { CompressionError } from '../errors.ts';
import type { Etag, ObjectStore } from './object-store.ts';

export function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/**
 * A small JSON object of the store, checked by its schema.
 *
 * @throws CompressionError INTERNAL when the object is not what we once wrote
 */
export async function readJson<Schema extends z.ZodType>(
  store: ObjectStore,
  key: string,
  schema: Schema,
): Promise<{ readonly value: z.output<Schema>; readonly etag: Etag } | undefined> {
  const object = await store.get(key);
  if (object === undefined) return undefined;
  try {
    return { value: schema.parse(JSON.parse(new TextDecoder().decode(object.body))), etag: object.etag };
  } catch (error) {
    throw new CompressionError('INTERNAL', `object ${key} does not fit its schema`, { cause: error });
  }
}
