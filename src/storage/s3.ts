import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { GetObjectCommandOutput, S3ClientConfig } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { Readable } from 'node:stream';
import { CompressionError, defined, messageOf } from '../errors.ts';
import { assertObjectKey, assertObjectPrefix } from './object-key.ts';
import type { ObjectInfo, ObjectStore, PutCondition, PutResult } from './object-store.ts';
import { rangeError } from './range-error.ts';
import { failureOf, isMissing, isPreconditionFailed, isTransient, s3Error, withPatience } from './s3-errors.ts';

export interface S3StoreOptions {
  readonly bucket: string;
  /** For servers other than AWS; then buckets are part of the path. */
  readonly endpoint?: string;
  readonly region?: string;
  /** Keys start with it; `tersor/` and `tersor` are the same. */
  readonly prefix?: string;
  /** Default: the SDK's chain (environment, profile, container, instance). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** How long a call goes on trying while the store is busy, broken or silent; default 20 s. */
  readonly patienceMs?: number;
  /** For servers that do not know the SDK's default checksums. */
  readonly checksums?: 'when-supported' | 'when-required';
  readonly timeouts?: Partial<typeof TIMEOUTS>;
}

/** Without these the SDK waits forever for a server that says nothing (reliability: a silent store must be an error). */
const TIMEOUTS = { connectMs: 5_000, answerMs: 30_000, silenceMs: 15_000 };
const PATIENCE_MS = 20_000;
const PART_BYTES = 8 << 20;
const PARTS_AT_ONCE = 2;
const LARGEST_COPY_BYTES = 5 * 2 ** 30;
/** Times a broken read is taken up again without a single byte in between. */
const MAX_BARREN_RESUMES = 4;

/** Objects in one bucket of S3, or of a server that speaks it and honours conditional writes (see probeStore). */
export class S3Store implements ObjectStore {
  readonly #client: S3Client;
  /** Parts of a stream cannot be sent twice by us, so their client is the one that is patient. */
  readonly #uploader: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #patienceMs: number;

  constructor(options: S3StoreOptions) {
    const timeouts = { ...TIMEOUTS, ...options.timeouts };
    const checksum = options.checksums === 'when-required' ? 'WHEN_REQUIRED' : 'WHEN_SUPPORTED';
    const { endpoint, credentials } = options;
    const region = options.region ?? (endpoint === undefined ? undefined : 'us-east-1');
    const config: S3ClientConfig = {
      requestChecksumCalculation: checksum,
      responseChecksumValidation: checksum,
      requestHandler: {
        connectionTimeout: timeouts.connectMs,
        requestTimeout: timeouts.answerMs,
        throwOnRequestTimeout: true,
        socketTimeout: timeouts.silenceMs,
      },
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
      ...(credentials === undefined ? {} : { credentials }),
    };
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#client = new S3Client({ ...config, maxAttempts: 3 });
    // The SDK's pauses grow to 20 s with full jitter: about 12 s in 8 tries, 10 s more with each further one.
    const tries = 8 + Math.ceil(Math.max(0, this.#patienceMs - PATIENCE_MS) / 10_000);
    this.#uploader = new S3Client({ ...config, maxAttempts: tries });
    this.#bucket = options.bucket;
    const prefix = options.prefix?.replace(/\/+$/, '') ?? '';
    if (prefix !== '') assertObjectKey(prefix);
    this.#prefix = prefix === '' ? '' : `${prefix}/`;
  }

  async get(key: string): Promise<{ readonly body: Uint8Array; readonly etag: string } | undefined> {
    const where = this.#where(key);
    return this.#try(`read ${key}`, async () => {
      const found = await missingIsUndefined(this.#client.send(new GetObjectCommand(where)));
      if (found === undefined) return undefined;
      const body = await defined(found.Body, 'body of a GetObject answer').transformToByteArray();
      return { body, etag: defined(found.ETag, 'ETag of a GetObject answer') };
    });
  }

  async read(key: string, range?: { readonly start: number; readonly end: number }): Promise<Readable | undefined> {
    const start = range?.start ?? 0;
    const first = await this.#try(
      `read ${key}`,
      () => this.#open(key, { start, end: range?.end, etag: undefined }),
      true,
    );
    if (first === undefined) return undefined;
    return Readable.from(this.#resuming(key, first, start), { objectMode: false, highWaterMark: 1 << 18 });
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    const where = this.#where(key);
    return this.#try(`look up ${key}`, async () => {
      const found = await missingIsUndefined(this.#client.send(new HeadObjectCommand(where)));
      if (found === undefined) return undefined;
      return infoOf(key, found.ContentLength, found.ETag);
    });
  }

  async put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult> {
    const where = this.#where(key);
    const header =
      condition === undefined ? {} : 'ifAbsent' in condition ? { IfNoneMatch: '*' } : { IfMatch: condition.ifMatch };
    return this.#try(`write ${key}`, async (earlier): Promise<PutResult> => {
      try {
        const written = await this.#client.send(new PutObjectCommand({ ...where, ...header, Body: body }));
        return { ok: true, etag: defined(written.ETag, 'ETag of a PutObject answer') };
      } catch (error) {
        // If-Match on a key that is not there answers 404.
        if (condition === undefined || !(isPreconditionFailed(error) || isMissing(error))) throw error;
        // The conflict may be with our own write, whose answer was lost.
        const own = earlier + failureOf(error).attempts > 1 ? await this.get(key) : undefined;
        if (own !== undefined && Buffer.compare(own.body, body) === 0) return { ok: true, etag: own.etag };
        return { ok: false, reason: 'conflict' };
      }
    });
  }

  async write(key: string, body: Readable): Promise<ObjectInfo> {
    const where = this.#where(key);
    let bytes = 0;
    let sourceError: Error | undefined;
    async function* counted(): AsyncGenerator<Uint8Array> {
      try {
        for await (const chunk of body) {
          const part: unknown = chunk;
          const data = typeof part === 'string' ? Buffer.from(part) : part;
          if (!(data instanceof Uint8Array)) throw new TypeError('an object is written from a stream of bytes');
          bytes += data.length;
          yield data;
        }
      } catch (error) {
        sourceError = error instanceof Error ? error : new Error(messageOf(error));
        throw error;
      }
    }
    const upload = new Upload({
      client: this.#uploader,
      params: { ...where, Body: Readable.from(counted(), { objectMode: false }) },
      partSize: PART_BYTES,
      queueSize: PARTS_AT_ONCE,
      leavePartsOnError: false,
    });
    try {
      const done = await upload.done();
      return infoOf(key, bytes, done.ETag);
    } catch (error) {
      body.destroy();
      if (sourceError !== undefined) throw sourceError;
      throw s3Error(error, `write ${key}`);
    }
  }

  async copy(from: string, to: string): Promise<void> {
    const source = await this.head(from);
    if (source === undefined) {
      throw new CompressionError('INPUT_NOT_FOUND', `cannot copy ${from}: there is no such object`);
    }
    if (source.bytes > LARGEST_COPY_BYTES) {
      await this.write(to, defined(await this.read(from), from));
      return;
    }
    const path = this.#where(from);
    const CopySource = [path.Bucket, ...path.Key.split('/')].map(encodeURIComponent).join('/');
    await this.#try(`copy ${from} to ${to}`, () =>
      this.#client.send(new CopyObjectCommand({ ...this.#where(to), CopySource })),
    );
  }

  async delete(key: string): Promise<void> {
    const where = this.#where(key);
    await this.#try(`delete ${key}`, () => missingIsUndefined(this.#client.send(new DeleteObjectCommand(where))));
  }

  async list(
    prefix: string,
    options: { readonly after?: string; readonly limit?: number } = {},
  ): Promise<readonly ObjectInfo[]> {
    assertObjectPrefix(prefix);
    const after = options.after === undefined ? {} : { StartAfter: this.#prefix + options.after };
    return this.#try(`list ${prefix}`, async () => {
      const page = await this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#bucket,
          Prefix: this.#prefix + prefix,
          MaxKeys: Math.min(options.limit ?? 1000, 1000),
          ...after,
        }),
      );
      return (page.Contents ?? []).map((entry) =>
        infoOf(defined(entry.Key, 'Key of a listing').slice(this.#prefix.length), entry.Size, entry.ETag),
      );
    });
  }

  async presign(
    key: string,
    options: { readonly expiresSeconds: number; readonly fileName?: string },
  ): Promise<string> {
    const name = options.fileName?.replace(/[^A-Za-z0-9._-]/g, '_');
    const command = new GetObjectCommand({
      ...this.#where(key),
      ...(name === undefined ? {} : { ResponseContentDisposition: `attachment; filename="${name}"` }),
    });
    return getSignedUrl(this.#client, command, { expiresIn: options.expiresSeconds });
  }

  close(): Promise<void> {
    this.#client.destroy();
    this.#uploader.destroy();
    return Promise.resolve();
  }

  #where(key: string): { readonly Bucket: string; readonly Key: string } {
    assertObjectKey(key);
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  async #try<T>(action: string, work: (earlier: number) => Promise<T>, input = false): Promise<T> {
    try {
      return await withPatience(this.#patienceMs, work);
    } catch (error) {
      throw s3Error(error, action, input);
    }
  }

  async #open(
    key: string,
    from: { readonly start: number; readonly end: number | undefined; readonly etag: string | undefined },
  ): Promise<OpenBody | undefined> {
    const { start, end, etag } = from;
    const range = start === 0 && end === undefined ? {} : { Range: `bytes=${start}-${end ?? ''}` };
    const match = etag === undefined ? {} : { IfMatch: etag };
    try {
      const answer = await this.#client.send(new GetObjectCommand({ ...this.#where(key), ...range, ...match }));
      return openBody(answer);
    } catch (error) {
      if (isMissing(error)) return undefined;
      const { status } = failureOf(error);
      if (status === 416) throw rangeError(key, { start, end: end ?? start }, undefined);
      if (status !== 412) throw error;
      throw new CompressionError('INPUT_CHANGED', `object ${key} was replaced while it was read; read it again`, {
        cause: error,
      });
    }
  }

  /** The body; when the connection breaks or falls silent, the rest of the same version is asked for. */
  async *#resuming(key: string, first: OpenBody, start: number): AsyncGenerator<Uint8Array> {
    const end = start + first.bytes;
    let position = start;
    let barren = 0;
    for (let body: OpenBody | undefined = first; ;) {
      const before = position;
      try {
        for await (const chunk of body.stream) {
          const data: unknown = chunk;
          if (!(data instanceof Uint8Array)) throw new TypeError('a body of S3 is bytes');
          position += data.length;
          yield data;
        }
        if (position >= end) return;
      } catch (error) {
        // All bytes came, so what failed is their checksum; asking for no more bytes would hide that.
        if (position >= end || !isTransient(error)) throw s3Error(error, `read ${key}`);
        barren = position > before ? 0 : barren + 1;
        if (barren > MAX_BARREN_RESUMES) throw s3Error(error, `read ${key}`);
      }
      const from = { start: position, end: end - 1, etag: first.etag };
      body = await this.#try(`read on ${key}`, () => this.#open(key, from), true);
      if (body === undefined) {
        throw new CompressionError('INPUT_CHANGED', `object ${key} was deleted while it was read`);
      }
    }
  }
}

interface OpenBody {
  readonly stream: Readable;
  readonly bytes: number;
  readonly etag: string;
}

function openBody(answer: GetObjectCommandOutput): OpenBody {
  const stream = answer.Body;
  if (!(stream instanceof Readable)) throw new CompressionError('INTERNAL', 'a GetObject answer has no body stream');
  // It may break before its reader begins; the reader meets the error then, and no unheard event ends the process.
  stream.on('error', () => undefined);
  return {
    stream,
    bytes: defined(answer.ContentLength, 'Content-Length of a GetObject answer'),
    etag: defined(answer.ETag, 'ETag of a GetObject answer'),
  };
}

function infoOf(key: string, bytes: number | undefined, etag: string | undefined): ObjectInfo {
  return { key, bytes: defined(bytes, `size of ${key}`), etag: defined(etag, `ETag of ${key}`) };
}

async function missingIsUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
