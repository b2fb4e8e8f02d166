import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { BlobStore } from '../../src/storage/blob-store.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';

describe('BlobStore', () => {
  let folder: string;
  let store: FileSystemStore;
  let blobs: BlobStore;
  const bytes = Buffer.from('the same bytes for everybody');
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  let opened = 0;
  const source = {
    bytes: bytes.length,
    open: () => {
      opened += 1;
      return Readable.from([bytes]);
    },
  };
  const stored = async () => (await store.list(`blobs/${sha256}/`)).filter(({ key }) => !key.endsWith('record.json'));
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-blobs-'));
    store = new FileSystemStore(folder);
    blobs = new BlobStore(store);
    opened = 0;
  });
  afterEach(async () => {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('writes a content once for all who hold it, and drops it with the last', async () => {
    await blobs.hold(sha256, 'a', source);
    await blobs.hold(sha256, 'b', source);
    assert.equal(opened, 1);
    await blobs.release(sha256, 'a');
    const stream = await blobs.read(sha256);
    assert.ok(stream !== undefined);
    assert.deepEqual(await buffer(stream), bytes);
    await blobs.release(sha256, 'b');
    assert.equal(await blobs.read(sha256), undefined);
    assert.deepEqual(await stored(), []);
  });

  it('can be held again after it was dropped', async () => {
    await blobs.hold(sha256, 'a', source);
    await blobs.release(sha256, 'a');
    await blobs.hold(sha256, 'a', source);
    assert.notEqual(await blobs.keyOf(sha256), undefined);
  });

  it('keeps one copy when many upload at once', async () => {
    await Promise.all(Array.from({ length: 12 }, (_, n) => blobs.hold(sha256, `t${n}`, source)));
    assert.equal((await stored()).length, 1);
  });

  it('never loses the bytes of a holder to somebody who lets go at the same time', async () => {
    for (let round = 0; round < 10; round += 1) {
      await blobs.hold(sha256, 'old', source);
      await Promise.all([blobs.release(sha256, 'old'), blobs.hold(sha256, 'new', source)]);
      const stream = await blobs.read(sha256);
      assert.ok(stream !== undefined, `round ${round}`);
      assert.deepEqual(await buffer(stream), bytes);
      await blobs.release(sha256, 'new');
      assert.deepEqual(await stored(), []);
    }
  });

  it('takes a release of what is not held', async () => {
    await blobs.release(sha256, 'nobody');
    await blobs.hold(sha256, 'a', source);
    await blobs.release(sha256, 'nobody');
    assert.notEqual(await blobs.keyOf(sha256), undefined);
  });
});
