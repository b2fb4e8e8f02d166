import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { livenessOf, processIdentity } from './process-identity.ts';

/** A lock of another machine or container cannot be asked; critical sections take milliseconds, so by then it is dead. */
const FOREIGN_STALE_MS = 60_000;

export interface FileLock {
  readonly path: string;
  release(): Promise<void>;
}

export interface LockHolder {
  readonly path: string;
  readonly identity: string;
}

/**
 * Mutual exclusion between the processes that share a folder, safe against crashes, without flock: everyone creates a
 * file of his own (`name.identity.nonce`) and only then looks who else is there; of two that overlap, the later one to
 * look sees the other, so never both go on. A file whose process has died is removed by whoever meets it; since every
 * name is unique, that can never remove the lock of a live one.
 *
 * @returns the lock, or who holds it
 */
export async function tryFileLock(folder: string, name: string): Promise<FileLock | LockHolder> {
  const own = `${name}.${processIdentity()}.${randomBytes(6).toString('hex')}`;
  const path = join(folder, own);
  await createFile(folder, path);
  let holder: LockHolder | undefined;
  try {
    holder = await findHolder(folder, name, own);
  } catch (error) {
    await removeFile(path);
    throw error;
  }
  if (holder === undefined) return { path, release: () => removeFile(path) };
  await removeFile(path);
  return holder;
}

/** Waits for the lock, at most `timeoutMs`; undefined when it stayed taken. */
export async function acquireFileLock(folder: string, name: string, timeoutMs: number): Promise<FileLock | undefined> {
  const end = performance.now() + timeoutMs;
  let pauseMs = 1;
  for (;;) {
    const lock = await tryFileLock(folder, name);
    if ('release' in lock) return lock;
    // Waiting without a file of one's own, so that waiters do not keep each other out.
    do {
      if (performance.now() > end) return undefined;
      await delay(pauseMs * (0.5 + Math.random()));
      pauseMs = Math.min(pauseMs * 1.5, 20);
    } while ((await findHolder(folder, name, '')) !== undefined);
  }
}

async function findHolder(folder: string, name: string, own: string): Promise<LockHolder | undefined> {
  for (const entry of await readdir(folder)) {
    if (entry === own || !entry.startsWith(`${name}.`)) continue;
    const identity = entry.split('.')[1] ?? '';
    const path = join(folder, entry);
    switch (livenessOf(identity)) {
      case 'alive':
        return { path, identity };
      case 'foreign':
        if (await isFresh(path)) return { path, identity };
        break;
      case 'dead':
        break;
    }
    await removeFile(path);
  }
  return undefined;
}

async function isFresh(path: string): Promise<boolean> {
  try {
    return Date.now() - (await stat(path)).mtimeMs < FOREIGN_STALE_MS;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

async function createFile(folder: string, path: string): Promise<void> {
  try {
    await (await open(path, 'wx')).close();
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    await mkdir(folder, { recursive: true });
    await (await open(path, 'wx')).close();
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}
