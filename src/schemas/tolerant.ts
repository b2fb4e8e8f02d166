import { z } from 'zod';

/*
 * Schemas for what passes wrote into the `details` of a step: pages are made of reports of any age, so whatever does not fit is
 * left out, and the rest is shown.
 */

/** Left out where it does not fit. */
export const given = <Schema extends z.ZodType>(schema: Schema) => schema.optional().catch(undefined);
/** Entries that do not fit are dropped, each by itself. */
export const listOf = <Schema extends z.ZodType>(schema: Schema) =>
  z
    .array(z.unknown())
    .catch([])
    .transform((items) =>
      items.flatMap((item) => {
        const parsed = schema.safeParse(item);
        return parsed.success ? [parsed.data] : [];
      }),
    );
/** As a list of names and values. */
export const recordOf = <Schema extends z.ZodType>(schema: Schema) =>
  z
    .record(z.string(), z.unknown())
    .catch({})
    .transform((record) =>
      Object.entries(record).flatMap(([name, item]) => {
        const parsed = schema.safeParse(item);
        return parsed.success ? [[name, parsed.data] as const] : [];
      }),
    );
