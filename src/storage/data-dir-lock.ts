import { mkdir, utimes } from 'node:fs/promises';
import { CompressionError } from '../errors.ts';
import { tryFileLock } from './file-lock.ts';

const NAME = 'service';
const REFRESH_MS = 15_000; // a lock of another container counts for 60 s after its last sign of life

/**
 * Keeps two services from sharing one DATA_DIR unknowingly: their in-process queues would not know of each other. The
 * lock of a process that has died is taken over.
 *
 * @returns release
 * @throws CompressionError CONFIG_INVALID when another live process holds it
 */
export async function lockDataDir(root: string): Promise<() => Promise<void>> {
  await mkdir(root, { recursive: true });
  const lock = await tryFileLock(root, NAME);
  if (!('release' in lock)) {
    const pid = lock.identity.split('-')[1] ?? '?';
    throw new CompressionError(
      'CONFIG_INVALID',
      `DATA_DIR ${root} is in use by another service (process ${pid}, ${lock.path}); stop it, or set another DATA_DIR, ` +
        'or run several processes on REDIS_URL and S3_BUCKET',
    );
  }
  const refresh = setInterval(() => {
    const now = new Date();
    // Best effort: only the view of other containers hangs on it, and there is nobody to tell.
    utimes(lock.path, now, now).catch(() => undefined);
  }, REFRESH_MS);
  refresh.unref();
  return async () => {
    clearInterval(refresh);
    await lock.release();
  };
}
