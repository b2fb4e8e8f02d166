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

const MAX_PAGE = 100;

/** Digits only: a coerced number would also take `0x10`, `1e1`, ` 5 ` and the empty string. */
const PageLimit = z
  .string()
  .regex(/^(?:[1-9][0-9]?|100)$/, `must be a whole number from 1 to ${MAX_PAGE}`)
  .transform(Number)
  .default(20)
  .describe(`Items a page, 1 to ${MAX_PAGE}`);

const Cursor = z
  .string()
  .max(256)
  .regex(/^[A-Za-z0-9_-]+$/, 'must be a nextCursor of this list')
  .describe('nextCursor of the page before');

export const PageQuery = z.strictObject({ limit: PageLimit, cursor: Cursor.optional() });

export const page = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

/** `true` or `false`, spelled out; anything else is an error. */
export const BooleanQuery = z
  .enum(['true', 'false'])
  .transform((word) => word === 'true')
  .default(false);

/** An object in one of the buckets that SOURCE_BUCKETS allows. */
const SourceUrl = z
  .string()
  .max(1200)
  .regex(/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\/[^?#]+$/, 'must be s3://bucket/key')
  .refine((url) => !url.split('/').includes('..'), 'must not contain ..')
  .describe('s3://bucket/key, in a bucket the operator allows (SOURCE_BUCKETS)');

export const SourceBody = z.strictObject({
  source: SourceUrl,
  sha256: Sha256.optional().describe('Refuse the object when its SHA-256 is another'),
});
export type SourceBody = z.infer<typeof SourceBody>;

const ErrorPlaceSchema = z.object({
  pointer: z.string().describe('RFC 6901 pointer into the body'),
  message: z.string(),
});

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
