import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { DataLimits } from '../../src/data/limits.ts';
import { openDataset } from '../../src/data/open-dataset.ts';
import { CompressionError } from '../../src/errors.ts';
import { pax, tar, zip } from './archives.ts';
import { fixture, flip, floats, good, goodTar, HOSTILE_CASES, packed, picture } from './hostile-cases.ts';

describe('hostile data sets', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-test-'));
  });
  after(() => rm(folder, { recursive: true }));

  /** Reads everything there is. */
  async function readAll(bytes: Buffer, limits: Partial<DataLimits> = {}): Promise<void> {
    const path = join(folder, 'set');
    await writeFile(path, bytes);
    const dataset = await openDataset(path, { scratchFolder: folder, ...limits });
    try {
      for await (const batch of dataset.batches({ batchSize: 2 })) assert.ok(batch.count > 0);
    } finally {
      await dataset.close();
    }
  }

  it('are told from good ones', async () => {
    for (const bytes of [
      zip([good]),
      zip([packed]),
      zip([{ ...packed, descriptor: true }]),
      goodTar,
      gzipSync(goodTar),
      floats,
    ]) {
      await readAll(bytes);
    }
    await readAll(tar([pax('path', 'dog/long name.png'), picture, { name: 'dog', type: '5' }]));
  });

  for (const { name, bytes, code, message, limits } of HOSTILE_CASES) {
    it(name, async () => {
      await assert.rejects(readAll(typeof bytes === 'function' ? await bytes() : bytes, limits), (error) => {
        assert.ok(error instanceof CompressionError, String(error));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        return true;
      });
    });
  }

  it('leave nothing in the scratch folder', async () => {
    assert.deepEqual(await readdir(folder), ['set']);
  });

  it('any byte of a good archive may change: an error or the same data, never a crash', async () => {
    for (const source of ['types-deflated.npz', 'images.tar', 'rows-zstd.parquet']) {
      const bytes = await fixture(source);
      for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 60)) {
        try {
          await readAll(flip(bytes, at - bytes.length), { maxBytes: 2 ** 24 });
        } catch (error) {
          assert.ok(error instanceof CompressionError, `${source} byte ${at}: ${String(error)}`);
          assert.match(error.code, /^DATASET_/, `${source} byte ${at}: ${error.message}`);
        }
      }
    }
  });
});
