import { CompressionError } from '../errors.ts';
import type { ObjectStore } from './object-store.ts';
import { failureOf } from './s3-errors.ts';
import type { SourceObject, SourceReader } from './source-reader.ts';

const PERMISSION_ERRORS: ReadonlySet<string> = new Set(['AccessDenied', 'AllAccessDisabled', 'Forbidden']);

/**
 * Reads `s3://bucket/key` from the buckets the operator allows, with the service's own credentials. A tenant names
 * objects, never endpoints, so a request can reach nothing else.
 */
export class BucketSources implements SourceReader {
  readonly #buckets: readonly string[];
  readonly #open: (bucket: string) => Promise<ObjectStore>;
  readonly #stores = new Map<string, Promise<ObjectStore>>();

  /** @param open - a store over the whole of a bucket */
  constructor(buckets: readonly string[], open: (bucket: string) => Promise<ObjectStore>) {
    this.#buckets = buckets;
    this.#open = open;
  }

  async lookUp(url: string): Promise<SourceObject> {
    const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/(.+)$/.exec(url) ?? [];
    const places = [{ pointer: '/source', message: `${bucket} is not a bucket this service may read from` }];
    if (!this.#buckets.includes(bucket))
      throw new CompressionError(
        'SOURCE_DENIED',
        this.#buckets.length === 0
          ? 'This service takes nothing from buckets; upload the bytes, or ask the operator to set SOURCE_BUCKETS'
          : `${bucket} is not a bucket this service may read from; allowed: ${this.#buckets.join(', ')}`,
        { places },
      );
    const store = await this.#storeOf(bucket);
    const info = await withReason(url, () => store.head(key));
    if (info === undefined) throw notFound(url);
    return {
      bytes: info.bytes,
      open: async () => {
        const stream = await withReason(url, () => store.read(key));
        if (stream === undefined) throw notFound(url);
        return stream;
      },
    };
  }

  async close(): Promise<void> {
    for (const store of this.#stores.values()) await (await store).close();
  }

  #storeOf(bucket: string): Promise<ObjectStore> {
    const known = this.#stores.get(bucket) ?? this.#open(bucket);
    this.#stores.set(bucket, known);
    return known;
  }
}

function notFound(url: string): CompressionError {
  const message = `${url} is not there`;
  return new CompressionError('INPUT_NOT_FOUND', message, { places: [{ pointer: '/source', message }] });
}

/** Tells missing rights apart from a store that is in trouble: a retry helps only with the latter. */
async function withReason<T>(url: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      const { name, status } = failureOf(cause);
      if (PERMISSION_ERRORS.has(name) || status === 403)
        throw new CompressionError('INPUT_DENIED', `This service may not read ${url}`, {
          cause: error,
          places: [{ pointer: '/source', message: 'access denied by the store' }],
        });
    }
    throw error;
  }
}
