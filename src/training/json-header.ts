import type { z } from 'zod';

/** The header of a stored state; undefined for what is no JSON or not of this kind, as an older version's. */
export function parseJsonHeader<Schema extends z.ZodType>(
  schema: Schema,
  bytes: Uint8Array,
): z.output<Schema> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  return schema.safeParse(json).data;
}
