import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
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
   * @param name - path inside the folder, made or checked by us
   * @throws CompressionError PAYLOAD_TOO_LARGE, or BAD_REQUEST when the sender stops half-way
   */
  async take(name: string, body: Readable, limits: SpoolLimits): Promise<SpooledFile> {
    const path = join(this.folder, name);
    await mkdir(dirname(path), { recursive: true });
    const hash = createHash('sha256');
    let bytes = 0;
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        bytes += chunk.byteLength;
        if (bytes > limits.maxBytes) {
          done(new CompressionError('PAYLOAD_TOO_LARGE', `The upload is larger than ${limits.maxBytes} bytes`));
          return;
        }
        idle.refresh();
        hash.update(chunk);
        done(null, chunk);
      },
    });
    const idle = setTimeout(() => {
      meter.destroy(new CompressionError('BAD_REQUEST', `No byte of the upload came for ${limits.idleMs} ms`));
    }, limits.idleMs);
    try {
      await pipeline(body, meter, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
    } catch (error) {
      if (error instanceof CompressionError) throw error;
      if (hasCode(error, 'ENOSPC'))
        throw new CompressionError('DISK_FULL', 'No space left for uploads', { cause: error });
      throw new CompressionError('BAD_REQUEST', 'The upload ended before it was complete', { cause: error });
    } finally {
      clearTimeout(idle);
    }
    return { path, bytes, sha256: hash.digest('hex'), open: () => createReadStream(path) };
  }

  async dispose(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
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
