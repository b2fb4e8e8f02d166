import type { Readable } from 'node:stream';

/** Opaque version of an object; compare-and-set takes it back. */
export type Etag = string;

export interface ObjectInfo {
  readonly key: string;
  readonly bytes: number;
  readonly etag: Etag;
}

export type PutCondition = { readonly ifAbsent: true } | { readonly ifMatch: Etag };

/** Result of a conditional write: `conflict` means that the condition did not hold and nothing changed. */
export type PutResult =
  { readonly ok: true; readonly etag: Etag } | { readonly ok: false; readonly reason: 'conflict' };

/**
 * The system of record. Keys are `/`-separated, made by us only; implementations need not accept others. Strong
 * read-after-write is assumed and probed at start. All methods throw CompressionError OBJECT_STORE_UNAVAILABLE when the
 * store does not answer in time (after the implementation's own retries).
 */
export interface ObjectStore {
  /** A small object, whole; undefined when there is none. */
  get(key: string): Promise<{ readonly body: Uint8Array; readonly etag: Etag } | undefined>;
  /**
   * A byte stream of an object, or of the inclusive range (cut at the object's end); undefined when there is none.
   * @throws RANGE_NOT_SATISFIABLE when the range begins past the end; INPUT_DENIED when the store refuses access
   */
  read(key: string, range?: { readonly start: number; readonly end: number }): Promise<Readable | undefined>;
  head(key: string): Promise<ObjectInfo | undefined>;
  /** Writes a small object, atomically; with a condition, compare-and-set. */
  put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult>;
  /** Writes a stream of unknown length; visible only when complete. Aborts cleanly when the stream errs. */
  write(key: string, body: Readable): Promise<ObjectInfo>;
  /** Server-side copy. */
  copy(from: string, to: string): Promise<void>;
  delete(key: string): Promise<void>;
  /** Keys with the prefix in ascending order of bytes, after `after`, at most `limit` (<= 1000). */
  list(prefix: string, options?: { readonly after?: string; readonly limit?: number }): Promise<readonly ObjectInfo[]>;
  /** A URL that lets anyone read the object for a while, or undefined where the store has none. */
  presign(
    key: string,
    options: { readonly expiresSeconds: number; readonly fileName?: string },
  ): Promise<string | undefined>;
  close(): Promise<void>;
}
