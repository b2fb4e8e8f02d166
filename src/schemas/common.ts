import { z } from 'zod';

const id = (prefix: string, what: string) =>
  z
    .string()
    .regex(
      new RegExp(`^${prefix}_[0-9a-z]{16,64}$`),
      `must be the id of a ${what}: ${prefix}_ and lower-case letters or digits`,
    )
    .describe(`Id of a ${what}`);

export const ModelId = id('mdl', 'model');
export const DatasetId = id('dst', 'data set');
export const JobId = id('job', 'job');
export const EndpointId = id('whe', 'webhook endpoint');

/** RFC 3339, UTC. */
export const Timestamp = z.iso.datetime().describe('RFC 3339, UTC');
export const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hexadecimal digits')
  .describe('SHA-256, hexadecimal');

export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(20).describe('Items a page'),
  cursor: z
    .string()
    .max(256)
    .regex(/^[A-Za-z0-9_-]+$/, 'must be a nextCursor of this list')
    .optional()
    .describe('nextCursor of the page before'),
});

export const page = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

export const ErrorPlaceSchema = z.object({ pointer: z.string(), message: z.string() });

/** RFC 9457. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  instance: z.string().optional(),
  code: z.string(),
  errors: z.array(ErrorPlaceSchema).optional(),
});
export type Problem = z.infer<typeof Problem>;
