import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PutCondition } from '../../src/storage/object-store.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { probeStore } from '../../src/storage/probe.ts';
import { hasCode } from '../contract/object-store.ts';

/** What many servers do: they take the condition and ignore it. */
class Ignoring extends FileSystemStore {
  readonly #ignored: 'ifAbsent' | 'ifMatch';
  constructor(root: string, ignored: 'ifAbsent' | 'ifMatch') {
    super(root);
    this.#ignored = ignored;
  }
  override put(key: string, body: Uint8Array, condition?: PutCondition) {
    return condition !== undefined && this.#ignored in condition
      ? super.put(key, body)
      : super.put(key, body, condition);
  }
}

class Stale extends FileSystemStore {
  override get() {
    return Promise.resolve(undefined);
  }
}

describe('probeStore', () => {
  let root: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'tersor-probe-'));
  });
  after(() => rm(root, { recursive: true }));

  it('refuses a store that ignores If-None-Match', async () => {
    const store = new Ignoring(root, 'ifAbsent');
    await assert.rejects(probeStore(store), hasCode('CONFIG_INVALID'));
    await assert.rejects(probeStore(store), /If-None-Match: \* \(of 8 racing writes 8 won\)/);
  });

  it('refuses a store that ignores If-Match', async () => {
    await assert.rejects(probeStore(new Ignoring(root, 'ifMatch')), /If-Match with a stale etag/);
  });

  it('refuses a store that does not show what was written', async () => {
    await assert.rejects(probeStore(new Stale(root)), /reading what was just written/);
  });

  it('leaves nothing behind', async () => {
    const store = new FileSystemStore(root);
    await probeStore(store);
    assert.deepEqual(await store.list(''), []);
  });
});
