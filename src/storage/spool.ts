import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { CompressionError } from '../errors.ts';

const PREFIX = 'upload-';

export interface SpoolLimits {
  readonly maxBytes: number;
  /** Milliseconds without a byte after which the sender is given up. */
  readonly idleMs: number;
}

export interface SpooledFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** A fresh stream of the bytes. */
  open(): Readable;
}

/**
 * A private folder for one upload. Bytes are hashed and counted while they are written; nothing of it is visible to
 * anybody before the upload is complete, and `dispose` leaves nothing behind.
 */
export class Spool {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(parent: string): Promise<Spool> {
    await mkdir(parent, { recursive: true });
    return new Spool(await mkdtemp(join(parent, PREFIX)));
  }

  /**
   * @param name - file name, made or checked by us
   * @throws CompressionError PAYLOAD_TOO_LARGE; BAD_REQUEST when the sender stops half-way; REQUEST_TIMEOUT, DISK_FULL
   */
  async take(name: string, body: Readable, limits: SpoolLimits): Promise<SpooledFile> {
    // It may break before we begin to read; an error nobody listens to would end the process. Reading reports it.
    body.on('error', () => undefined);
    const path = join(this.folder, name);
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      const file = await open(path, 'wx', 0o600);
      try {
        for await (const chunk of chunksOf(body, limits.idleMs)) {
          bytes += chunk.byteLength;
          if (bytes > limits.maxBytes)
            throw new CompressionError('PAYLOAD_TOO_LARGE', `The upload is larger than ${limits.maxBytes} bytes`);
          hash.update(chunk);
          await file.writeFile(chunk);
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      if (error instanceof CompressionError) throw error;
      if (hasCode(error, 'ENOSPC'))
        throw new CompressionError('DISK_FULL', 'No space left for uploads', { cause: error });
      throw new CompressionError('BAD_REQUEST', 'The upload ended before it was complete', { cause: error });
    }
    return { path, bytes, sha256: hash.digest('hex'), open: () => createReadStream(path) };
  }

  async dispose(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * The chunks of a stream, as long as one comes at least every `idleMs`. Leaving early does not destroy the stream: with
 * a request that would close the socket, and the answer that says why could not be sent.
 */
async function* chunksOf(body: Readable, idleMs: number): AsyncGenerator<Buffer> {
  const chunks: AsyncIterator<Buffer> = body.iterator({ destroyOnReturn: false });
  for (;;) {
    let timer: NodeJS.Timeout | undefined;
    const idle = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(new CompressionError('REQUEST_TIMEOUT', `No byte of the upload came for ${idleMs} ms`));
      }, idleMs);
    });
    try {
      const next = await Promise.race([chunks.next(), idle]);
      if (next.done === true) return;
      yield next.value;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Uploads whose process died leave their folder behind; no upload takes this long. */
const ABANDONED_MS = 24 * 3600 * 1000;

/** Removes what killed processes left in the spool folder. */
export async function sweepSpools(parent: string): Promise<void> {
  await mkdir(parent, { recursive: true });
  for (const name of await readdir(parent)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(parent, name);
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
