import { createHash, randomBytes } from 'node:crypto';
import { constants, createWriteStream } from 'node:fs';
import type { BigIntStats, Dirent } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CompressionError, messageOf } from '../errors.ts';
import { acquireFileLock, hasCode } from './file-lock.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import { assertObjectKey, assertObjectPrefix } from './object-key.ts';
import type { Etag, ObjectInfo, ObjectStore, PutCondition, PutResult } from './object-store.ts';
import { livenessOf, processIdentity } from './process-identity.ts';
import { rangeError } from './range-error.ts';

const LOCK_TIMEOUT_MS = 10_000;
const NS_PER_MS = 1_000_000n;

/**
 * Objects as plain files under `root/objects`, readable with any tool. Safe to share between processes of one machine:
 * a write goes to `root/tmp`, is flushed to disk, and is renamed into place under a lock of its key; the folder is
 * flushed too, so a write that was answered survives a power loss. Etags come from file time, size and inode; a write
 * sets a file time later than that of the file it replaces, so no etag of a key comes twice.
 *
 * A key cannot be both an object and the folder of another (`a` and `a/b`).
 */
export class FileSystemStore implements ObjectStore {
  readonly #objects: string;
  readonly #temporary: string;
  readonly #locks: string;
  readonly #mutex = new KeyedMutex();
  #swept: Promise<void> | undefined;

  constructor(root: string) {
    this.#objects = join(root, 'objects');
    this.#temporary = join(root, 'tmp');
    this.#locks = join(root, 'locks');
  }

  async get(key: string): Promise<{ readonly body: Uint8Array; readonly etag: Etag } | undefined> {
    return this.#guard('read', key, async () => {
      const file = await openIfThere(this.#path(key));
      if (file === undefined) return undefined;
      try {
        return { body: await file.readFile(), etag: etagOf(await file.stat({ bigint: true })) };
      } finally {
        await file.close();
      }
    });
  }

  async read(key: string, range?: { readonly start: number; readonly end: number }): Promise<Readable | undefined> {
    return this.#guard('read', key, async () => {
      const file = await openIfThere(this.#path(key));
      if (file === undefined) return undefined;
      if (range !== undefined) {
        const { size } = await file.stat();
        if (range.start >= size || range.end < range.start) {
          await file.close();
          throw rangeError(key, range, size);
        }
      }
      return file.createReadStream({ ...range, highWaterMark: 1 << 18 });
    });
  }

  async head(key: string): Promise<ObjectInfo | undefined> {
    return this.#guard('look up', key, async () => {
      const found = await statIfThere(this.#path(key));
      return found === undefined ? undefined : infoOf(key, found);
    });
  }

  async put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult> {
    return this.#guard('write', key, async () => {
      const path = this.#path(key);
      return this.#withTemporary(async (temporary) => {
        const file = await open(temporary, 'wx');
        try {
          await file.writeFile(body);
          await file.sync();
          const etag = await this.#publish(file, temporary, { key, path, condition });
          return etag === undefined ? { ok: false, reason: 'conflict' } : { ok: true, etag };
        } finally {
          await file.close();
        }
      });
    });
  }

  async write(key: string, body: Readable): Promise<ObjectInfo> {
    return this.#guard('write', key, async () => {
      const path = this.#path(key);
      return this.#withTemporary(async (temporary) => {
        await pipeline(body, createWriteStream(temporary, { flags: 'wx', highWaterMark: 1 << 20 }));
        return this.#publishFile(temporary, key, path);
      });
    });
  }

  async copy(from: string, to: string): Promise<void> {
    await this.#guard('copy', from, async () => {
      const source = this.#path(from);
      const path = this.#path(to);
      await this.#withTemporary(async (temporary) => {
        try {
          await copyFile(source, temporary, constants.COPYFILE_FICLONE);
        } catch (error) {
          if (!isAbsent(error)) throw error;
          throw new CompressionError('INPUT_NOT_FOUND', `cannot copy ${from}: there is no such object`, {
            cause: error,
          });
        }
        await this.#publishFile(temporary, to, path);
      });
    });
  }

  async delete(key: string): Promise<void> {
    await this.#guard('delete', key, async () => {
      const path = this.#path(key);
      await this.#exclusive(key, async () => {
        try {
          await unlink(path);
        } catch (error) {
          if (isAbsent(error)) return;
          throw error;
        }
        await syncFolder(dirname(path));
        await this.#removeEmptyFolders(dirname(path));
      });
    });
  }

  async list(
    prefix: string,
    options: { readonly after?: string; readonly limit?: number } = {},
  ): Promise<readonly ObjectInfo[]> {
    return this.#guard('list', prefix, async () => {
      assertObjectPrefix(prefix);
      const limit = Math.min(options.limit ?? 1000, 1000);
      const found: ObjectInfo[] = [];
      const start = prefix.includes('/') ? prefix.slice(0, prefix.lastIndexOf('/') + 1) : '';
      for await (const key of this.#walk(start, { prefix, after: options.after ?? '' })) {
        if (found.length >= limit) break;
        const stats = await statIfThere(this.#path(key));
        if (stats !== undefined) found.push(infoOf(key, stats)); // else deleted since
      }
      return found;
    });
  }

  presign(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #path(key: string): string {
    assertObjectKey(key);
    return join(this.#objects, key);
  }

  /** Keys in byte order: a folder sorts as its name with `/`, as its keys do. Folders out of the wanted span are not read. */
  async *#walk(folder: string, span: { readonly prefix: string; readonly after: string }): AsyncGenerator<string> {
    const names = (await readFolder(join(this.#objects, folder)))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
      .sort(compareBytes);
    for (const name of names) {
      const key = folder + name;
      if (!key.startsWith(span.prefix) && !span.prefix.startsWith(key)) continue;
      if (!key.endsWith('/')) {
        if (key.startsWith(span.prefix) && compareBytes(key, span.after) > 0) yield key;
      } else if (compareBytes(key, span.after) > 0 || span.after.startsWith(key)) {
        yield* this.#walk(key, span);
      }
    }
  }

  async #publishFile(temporary: string, key: string, path: string): Promise<ObjectInfo> {
    const file = await open(temporary, 'r+');
    try {
      await file.sync();
      await this.#publish(file, temporary, { key, path, condition: undefined });
      return infoOf(key, await file.stat({ bigint: true }));
    } finally {
      await file.close();
    }
  }

  /** Moves the flushed temporary file into place if the condition holds; undefined when it does not. */
  async #publish(
    file: FileHandle,
    temporary: string,
    target: { readonly key: string; readonly path: string; readonly condition: PutCondition | undefined },
  ): Promise<Etag | undefined> {
    const { key, path, condition } = target;
    return this.#exclusive(key, async () => {
      const before = await statIfThere(path);
      if (condition !== undefined) {
        const holds = 'ifAbsent' in condition ? before === undefined : before && etagOf(before) === condition.ifMatch;
        if (holds !== true) return undefined;
      }
      await stampLater(file, before);
      // The lock already decides; link(2) cannot replace, so even a broken lock could not overwrite a first writer.
      const absent = condition !== undefined && 'ifAbsent' in condition;
      if (!(await this.#place(temporary, path, absent))) return undefined;
      await syncFolder(dirname(path));
      return etagOf(await file.stat({ bigint: true }));
    });
  }

  /** Links or renames into place, making folders as needed (a concurrent delete may remove an empty one in between). */
  async #place(temporary: string, path: string, absent: boolean): Promise<boolean> {
    for (let tries = 0; ; tries++) {
      try {
        if (absent) await link(temporary, path);
        else await rename(temporary, path);
        return true;
      } catch (error) {
        if (absent && hasCode(error, 'EEXIST')) return false;
        if (absent && hasCode(error, 'EPERM', 'ENOTSUP', 'ENOSYS')) {
          absent = false; // a file system without hard links: the lock alone decides
        } else if (hasCode(error, 'ENOENT') && tries < 20) await makeFolder(dirname(path));
        else throw error;
      }
    }
  }

  async #exclusive<T>(key: string, work: () => Promise<T>): Promise<T> {
    return this.#mutex.run(key, async () => {
      const name = createHash('sha256').update(key).digest('hex').slice(0, 32);
      const lock = await acquireFileLock(this.#locks, name, LOCK_TIMEOUT_MS);
      if (lock === undefined) {
        throw new CompressionError(
          'OBJECT_STORE_UNAVAILABLE',
          `object ${key} stayed locked by another process for ${LOCK_TIMEOUT_MS} ms; see ${this.#locks} for its pid`,
        );
      }
      try {
        return await work();
      } finally {
        await lock.release();
      }
    });
  }

  async #withTemporary<T>(work: (path: string) => Promise<T>): Promise<T> {
    this.#swept ??= this.#sweepTemporary();
    await this.#swept;
    const path = join(this.#temporary, `${processIdentity()}.${randomBytes(9).toString('hex')}`);
    try {
      return await work(path);
    } finally {
      await unlink(path).catch(() => undefined); // renamed away when all went well
    }
  }

  /** Removes what crashed processes left. */
  async #sweepTemporary(): Promise<void> {
    await mkdir(this.#temporary, { recursive: true });
    for (const name of await readdir(this.#temporary)) {
      if (livenessOf(name.split('.')[0] ?? '') !== 'dead') continue;
      await unlink(join(this.#temporary, name)).catch(() => undefined); // another process sweeps too
    }
  }

  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let path = folder; path.length > this.#objects.length; path = dirname(path)) {
      try {
        await rmdir(path);
      } catch (error) {
        if (hasCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY', 'EPERM')) return;
        throw error;
      }
    }
  }

  async #guard<T>(verb: string, key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!hasErrno(error)) throw error; // ours already, or the error of the stream being written
      if (hasCode(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) {
        throw new CompressionError(
          'DISK_FULL',
          `cannot ${verb} ${key}: the disk of DATA_DIR is full (${messageOf(error)}); free space or raise the quota`,
          { cause: error },
        );
      }
      throw new CompressionError('OBJECT_STORE_UNAVAILABLE', `cannot ${verb} ${key}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
}

function hasErrno(error: unknown): boolean {
  return error instanceof Error && 'errno' in error && 'syscall' in error;
}

function isAbsent(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENOTDIR', 'EISDIR');
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  return undefined;
}

async function statIfThere(path: string): Promise<BigIntStats | undefined> {
  try {
    const found = await stat(path, { bigint: true });
    return found.isFile() ? found : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function readFolder(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** Makes the folder and flushes each new one's parent. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return; // NTFS journals renames; a folder cannot be opened for flushing
  let folder: FileHandle;
  try {
    folder = await open(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return; // emptied and removed by a concurrent delete: nothing of ours is in it
    throw error;
  }
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Gives the new file a time strictly later than that of the file it will replace, whatever the disk's resolution. */
async function stampLater(file: FileHandle, before: BigIntStats | undefined): Promise<void> {
  if (before === undefined) return;
  let stepNs = 2_000n; // Node passes times as doubles of seconds: 0.24 us apart today
  while ((await file.stat({ bigint: true })).mtimeNs <= before.mtimeNs) {
    const seconds = Number((before.mtimeNs + stepNs) / 1000n) / 1e6;
    await file.utimes(seconds, seconds);
    if (stepNs > 10_000n * NS_PER_MS) throw new CompressionError('INTERNAL', 'the disk keeps no file times');
    stepNs *= 10n;
  }
}

function etagOf(stats: BigIntStats): Etag {
  return `${stats.mtimeNs.toString(36)}-${stats.size.toString(36)}-${stats.ino.toString(36)}`;
}

function infoOf(key: string, stats: BigIntStats): ObjectInfo {
  return { key, bytes: Number(stats.size), etag: etagOf(stats) };
}

function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0; // keys are ASCII: order of UTF-16 units is order of bytes
}
