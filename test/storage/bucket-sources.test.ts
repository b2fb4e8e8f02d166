import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import { BucketSources } from '../../src/storage/bucket-sources.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';

describe('BucketSources', () => {
  let folder: string;
  let sources: BucketSources;
  const opened: string[] = [];
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-sources-'));
    sources = new BucketSources(['models', 'closed'], async (bucket) => {
      opened.push(bucket);
      const store = new FileSystemStore(join(folder, bucket));
      await store.put('a/model.onnx', Buffer.from('bytes'));
      if (bucket === 'closed')
        store.head = () => {
          const cause = Object.assign(new Error('no'), { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } });
          return Promise.reject(new CompressionError('OBJECT_STORE_UNAVAILABLE', 'S3 said no', { cause }));
        };
      return store;
    });
  });
  after(async () => {
    await sources.close();
    await rm(folder, { recursive: true, force: true });
  });
  const code = async (url: string): Promise<string> => {
    try {
      await sources.lookUp(url);
    } catch (error) {
      return error instanceof CompressionError ? error.code : String(error);
    }
    return 'fine';
  };

  it('gives size and bytes of an object in an allowed bucket', async () => {
    const object = await sources.lookUp('s3://models/a/model.onnx');
    assert.equal(object.bytes, 5);
    assert.equal((await buffer(await object.open())).toString(), 'bytes');
  });

  it('does not even open a bucket that is not allowed', async () => {
    assert.equal(await code('s3://others/a/model.onnx'), 'SOURCE_DENIED');
    assert.equal(await code('s3://models.others/a'), 'SOURCE_DENIED');
    assert.ok(!opened.includes('others'));
  });

  it('tells a missing object from missing rights', async () => {
    assert.equal(await code('s3://models/none'), 'INPUT_NOT_FOUND');
    assert.equal(await code('s3://closed/a/model.onnx'), 'INPUT_DENIED');
  });
});
