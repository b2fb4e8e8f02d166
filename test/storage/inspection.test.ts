import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import { Inspector } from '../../src/storage/inspection.ts';
import { addModel } from '../helpers/onnx-bytes.ts';

describe('Inspector', () => {
  let folder: string;
  let path: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-inspect-'));
    path = join(folder, 'model.onnx');
    await writeFile(path, addModel());
  });
  after(() => rm(folder, { recursive: true, force: true }));
  const code = async (call: Promise<unknown>): Promise<string> => {
    try {
      await call;
    } catch (error) {
      return error instanceof CompressionError ? error.code : String(error);
    }
    return 'fine';
  };

  it('reads many files with few threads', async () => {
    const inspector = new Inspector({ threads: 2 });
    const summaries = await Promise.all(Array.from({ length: 6 }, () => inspector.model(path, new Map())));
    assert.deepEqual(new Set(summaries.map(({ parameters }) => parameters)), new Set([4]));
    await inspector.close();
  });

  it('ends a thread that takes too long, and goes on with a new one', async () => {
    // The first answer includes the start of the thread, which takes far longer than 1 ms.
    const inspector = new Inspector({ threads: 1, timeoutMs: 1 });
    assert.equal(await code(inspector.model(path, new Map())), 'MODEL_LIMIT');
    assert.equal(await code(inspector.dataset(path)), 'DATASET_LIMIT');
    await inspector.close();
    const patient = new Inspector({ threads: 1 });
    assert.equal(await code(patient.model(path, new Map())), 'fine');
    await patient.close();
  });

  it('gives a file that needs too much memory up, and stays alive', async () => {
    const inspector = new Inspector({ threads: 1, heapMegabytes: 4 });
    const first = await code(inspector.model(path, new Map()));
    assert.equal(first, 'MODEL_LIMIT');
    await inspector.close();
  });

  it('refuses above the number that may wait', async () => {
    const inspector = new Inspector({ threads: 1, maxWaiting: 2 });
    const codes = await Promise.all(Array.from({ length: 5 }, () => code(inspector.model(path, new Map()))));
    assert.deepEqual(codes.sort(), ['OVERLOADED', 'OVERLOADED', 'fine', 'fine', 'fine']);
    await inspector.close();
  });
});
