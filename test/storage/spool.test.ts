import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import { Spool, sweepSpools } from '../../src/storage/spool.ts';

describe('Spool', () => {
  let parent: string;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'tersor-spool-'));
  });
  afterEach(() => rm(parent, { recursive: true, force: true }));
  const code = async (call: Promise<unknown>): Promise<string> => {
    try {
      await call;
    } catch (error) {
      return error instanceof CompressionError ? error.code : String(error);
    }
    return 'fine';
  };
  const limits = { maxBytes: 100, idleMs: 5000 };

  it('writes, counts and hashes on the way, and leaves nothing behind', async () => {
    const spool = await Spool.create(parent);
    const chunks = [Buffer.from('abc'), Buffer.from('def')];
    const file = await spool.take('model', Readable.from(chunks), limits);
    assert.equal(file.bytes, 6);
    assert.equal(file.sha256, createHash('sha256').update('abcdef').digest('hex'));
    assert.equal((await readFile(file.path)).toString(), 'abcdef');
    await spool.dispose();
    assert.deepEqual(await readdir(parent), []);
  });

  it('takes exactly the limit, and not one byte more', async () => {
    const spool = await Spool.create(parent);
    assert.equal(await code(spool.take('a', Readable.from([Buffer.alloc(100)]), limits)), 'fine');
    assert.equal(await code(spool.take('b', Readable.from([Buffer.alloc(101)]), limits)), 'PAYLOAD_TOO_LARGE');
  });

  it('leaves the stream of a refused upload open, so that an answer can be sent', async () => {
    const spool = await Spool.create(parent);
    const body = new PassThrough();
    body.write(Buffer.alloc(101));
    assert.equal(await code(spool.take('a', body, limits)), 'PAYLOAD_TOO_LARGE');
    assert.equal(body.destroyed, false);
  });

  it('gives up a sender that stalls, and one that breaks off', async () => {
    const spool = await Spool.create(parent);
    const stalled = new PassThrough();
    stalled.write('abc');
    assert.equal(await code(spool.take('a', stalled, { maxBytes: 100, idleMs: 30 })), 'REQUEST_TIMEOUT');
    const broken = new PassThrough();
    setImmediate(() => broken.destroy(new Error('aborted')));
    assert.equal(await code(spool.take('b', broken, limits)), 'BAD_REQUEST');
  });

  it('sweeps what killed processes left, and spares uploads at work', async () => {
    const old = await Spool.create(parent);
    const current = await Spool.create(parent);
    const twoDaysAgo = new Date(Date.now() - 48 * 3600 * 1000);
    await utimes(old.folder, twoDaysAgo, twoDaysAgo);
    await sweepSpools(parent);
    assert.deepEqual(await readdir(parent), [current.folder.slice(parent.length + 1)]);
  });
});
