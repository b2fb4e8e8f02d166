import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { jsonBytes, readJson } from '../storage/json-object.ts';
import type { ObjectStore } from '../storage/object-store.ts';

const MAX_TRIES = 50;

/**
 * Reads, changes and writes an object by compare-and-set until nobody came in between.
 *
 * @param change - gets undefined where there is no object; answers undefined to leave things as they are
 * @returns the object as it is then; undefined where there is none
 */
export async function updateJson<Schema extends z.ZodType>(
  store: ObjectStore,
  key: string,
  schema: Schema,
  change: (value: z.output<Schema> | undefined) => z.output<Schema> | undefined,
): Promise<z.output<Schema> | undefined> {
  for (let tries = 1; tries <= MAX_TRIES; tries++) {
    const found = await readJson(store, key, schema);
    const wanted = change(found?.value);
    if (wanted === undefined) return found?.value;
    const condition = found === undefined ? ({ ifAbsent: true } as const) : { ifMatch: found.etag };
    const result = await store.put(key, jsonBytes(wanted), condition);
    if (result.ok) return wanted;
    await delay(Math.random() * Math.min(tries * 4, 50));
  }
  throw new CompressionError(
    'OBJECT_STORE_UNAVAILABLE',
    `object ${key} was changed by others ${MAX_TRIES} times in a row; try again`,
  );
}
