import { randomBytes } from 'node:crypto';
import { CompressionError } from '../errors.ts';
import type { ObjectStore, PutResult } from './object-store.ts';

const RACERS = 8;

/**
 * Proves at start-up that the store does what job records rest on: conditional writes, and reading what was written.
 * Many servers that speak S3 accept the conditions and ignore them, which would run jobs twice and publish twice.
 *
 * @throws CompressionError CONFIG_INVALID that names what the store does not honour; OBJECT_STORE_UNAVAILABLE when it
 * does not answer
 */
export async function probeStore(store: ObjectStore): Promise<void> {
  const key = `probe/${randomBytes(12).toString('hex')}`;
  try {
    const racers = Array.from({ length: RACERS }, (_, n) => store.put(key, Buffer.from(`${n}`), { ifAbsent: true }));
    const winners = (await Promise.all(racers)).filter((result) => result.ok);
    expect(winners.length === 1, `If-None-Match: * (of ${RACERS} racing writes ${winners.length} won)`);
    const [first] = winners;
    const second = await store.put(key, Buffer.from('second'), { ifMatch: first?.etag ?? '' });
    expect(second.ok, 'If-Match with the current etag (it was refused)');
    const stale = await store.put(key, Buffer.from('stale'), { ifMatch: first?.etag ?? '' });
    expect(!stale.ok, 'If-Match with a stale etag (it overwrote a newer version)');
    const found = await store.get(key);
    expect(found !== undefined && Buffer.from(found.body).toString() === 'second', 'reading what was just written');
    expect(found?.etag === etagOf(second), 'one etag for one version (writing and reading answered different ones)');
    const [listed] = await store.list(key);
    expect(listed?.key === key && listed.etag === found?.etag, 'listing what was just written');
  } finally {
    await store.delete(key);
  }
  expect((await store.get(key)) === undefined, 'deleting');
}

function etagOf(result: PutResult): string | undefined {
  return result.ok ? result.etag : undefined;
}

function expect(holds: boolean, what: string): void {
  if (holds) return;
  throw new CompressionError(
    'CONFIG_INVALID',
    `the object store does not honour ${what}; jobs could run or publish twice on it. Use a store with conditional ` +
      'writes: AWS S3, versitygw, SeaweedFS, or the file store (DATA_DIR)',
  );
}
