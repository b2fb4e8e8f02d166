import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { hasCode } from '../contract/object-store.ts';
import { PASS, startFaultyProxy } from '../helpers/faulty-proxy.ts';
import type { Fault, FaultyProxy } from '../helpers/faulty-proxy.ts';
import { skipWithout, startS3 } from '../helpers/services.ts';
import type { S3Server } from '../helpers/services.ts';

const xml = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
const answer = (status: number, code: string): Fault => ({ kind: 'answer', status, body: xml(code) });
const SLOW_DOWN = answer(503, 'SlowDown');

describe('S3Store on a bad day', { skip: skipWithout('versitygw') }, () => {
  let server: S3Server;
  let proxy: FaultyProxy;
  let store: ObjectStore;
  let direct: ObjectStore;
  let keys = 0;
  const timeouts = { connectMs: 500, answerMs: 400, silenceMs: 400 };

  before(async () => {
    server = await startS3();
    proxy = await startFaultyProxy(server.endpoint);
    store = new S3Store({ ...server, endpoint: proxy.url, timeouts, patienceMs: 8_000 });
    direct = new S3Store(server);
  });
  afterEach(() => {
    proxy.decide = () => PASS;
    proxy.seen.length = 0;
  });
  after(async () => {
    await store.close();
    await direct.close();
    await proxy.stop();
    await server.stop();
  });

  /** The first requests meet these faults, one each; later ones pass. */
  const first = (...faults: Fault[]) => {
    proxy.decide = () => faults.shift() ?? PASS;
  };
  const put = async (body: Uint8Array) => {
    const key = `k${keys++}`;
    await direct.put(key, body);
    return key;
  };

  it('outlasts SlowDown longer than the SDK does', async () => {
    const key = await put(Buffer.from('abc'));
    first(SLOW_DOWN, SLOW_DOWN, SLOW_DOWN, SLOW_DOWN); // the SDK gives up after three
    assert.equal(Buffer.from((await store.get(key))?.body ?? []).toString(), 'abc');
    assert.equal(proxy.seen.length, 5);
    first(SLOW_DOWN);
    assert.equal((await store.write(`${key}s`, Readable.from([Buffer.from('stream')]))).bytes, 6);
  });

  it('gives up in the end, with a code that says so', async () => {
    const impatient = new S3Store({ ...server, endpoint: proxy.url, timeouts, patienceMs: 300 });
    proxy.decide = () => SLOW_DOWN;
    await assert.rejects(impatient.get('a'), hasCode('OBJECT_STORE_UNAVAILABLE'));
    proxy.decide = () => ({ kind: 'silence' });
    const start = performance.now();
    await assert.rejects(impatient.put('a', Buffer.from('x')), hasCode('OBJECT_STORE_UNAVAILABLE'));
    assert.ok(performance.now() - start < 5_000);
    await impatient.close();
    const nobody = new S3Store({ ...server, endpoint: 'http://127.0.0.1:9', timeouts, patienceMs: 300 });
    await assert.rejects(nobody.head('a'), hasCode('OBJECT_STORE_UNAVAILABLE'));
    await nobody.close();
  });

  it('tries again after silence', async () => {
    const key = await put(Buffer.from('abc'));
    first({ kind: 'silence' });
    assert.equal((await store.head(key))?.bytes, 3);
    assert.equal(proxy.seen.length, 2);
  });

  it('takes its own write, whose answer was lost, for what it is', async () => {
    const key = `k${keys++}`;
    first({ kind: 'lose-answer' });
    assert.ok((await store.put(key, Buffer.from('mine'), { ifAbsent: true })).ok);
    const found = await direct.get(key);
    assert.ok(found);
    first({ kind: 'lose-answer' });
    const second = await store.put(key, Buffer.from('mine too'), { ifMatch: found.etag });
    assert.ok(second.ok);
    assert.equal(second.etag, (await direct.head(key))?.etag);
  });

  it('does not take the write of another for its own', async () => {
    const key = await put(Buffer.from('theirs'));
    first(SLOW_DOWN);
    assert.equal((await store.put(key, Buffer.from('mine'), { ifAbsent: true })).ok, false);
  });

  it('repeats a conditional write that raced another (409)', async () => {
    first(answer(409, 'ConditionalRequestConflict'));
    assert.ok((await store.put(`k${keys++}`, Buffer.from('x'), { ifAbsent: true })).ok);
  });

  it('reads on, by range and etag, where a body was cut off or fell silent', async () => {
    const body = randomBytes(3 << 20);
    const key = await put(body);
    first(
      { kind: 'cut', afterBytes: 1_000_000 },
      { kind: 'stall', afterBytes: 500_000 },
      { kind: 'cut', afterBytes: 1 },
    );
    const stream = await store.read(key);
    assert.ok(stream);
    assert.ok((await buffer(stream)).equals(body));
    const etag = (await direct.head(key))?.etag;
    assert.deepEqual(
      proxy.seen.map(({ headers }) => [headers.range, headers['if-match']]),
      [
        [undefined, undefined],
        [`bytes=1000000-${body.length - 1}`, etag],
        [`bytes=1500000-${body.length - 1}`, etag],
        [`bytes=1500001-${body.length - 1}`, etag],
      ],
    );
    first({ kind: 'cut', afterBytes: 10 });
    const range = await store.read(key, { start: 100, end: 199 });
    assert.ok(range);
    assert.ok((await buffer(range)).equals(body.subarray(100, 200)));
    assert.equal(proxy.seen.at(-1)?.headers.range, 'bytes=110-199');
  });

  it('reads a small object again when it was cut off', async () => {
    const key = await put(Buffer.from('abcdef'));
    first({ kind: 'cut', afterBytes: 3 });
    assert.equal(Buffer.from((await store.get(key))?.body ?? []).toString(), 'abcdef');
  });

  it('notices that an object was replaced while it was read', async () => {
    const key = await put(randomBytes(1 << 20));
    first({ kind: 'cut', afterBytes: 1000 });
    const stream = await store.read(key);
    assert.ok(stream);
    await direct.put(key, randomBytes(1 << 20));
    await assert.rejects(buffer(stream), hasCode('INPUT_CHANGED'));
  });

  it('tells denied inputs from a store that turns the service away', async () => {
    const key = await put(Buffer.from('abc'));
    proxy.decide = () => answer(403, 'AccessDenied');
    await assert.rejects(store.read(key), hasCode('INPUT_DENIED'));
    await assert.rejects(store.get(key), hasCode('OBJECT_STORE_UNAVAILABLE'));
    assert.equal(proxy.seen.length, 2); // nothing a retry could help
  });

  it('says that the clock is off, and does not try on', async () => {
    proxy.decide = () => answer(403, 'RequestTimeTooSkewed');
    await assert.rejects(store.read('a'), /clock is off/);
    assert.equal(proxy.seen.length, 1);
  });

  it('refuses wrong credentials and buckets with advice', async () => {
    const wrong = new S3Store({ ...server, credentials: { accessKeyId: 'x', secretAccessKey: 'y' } });
    await assert.rejects(wrong.get('a'), /check S3_BUCKET/);
    await wrong.close();
    const nowhere = new S3Store({ ...server, bucket: 'no-such-bucket' });
    await assert.rejects(nowhere.put('a', Buffer.from('x')), /check S3_BUCKET/);
    await nowhere.close();
  });

  it('leaves no parts behind when the source or the server fails', async () => {
    const body = async function* (fails: boolean) {
      yield randomBytes(9 << 20);
      await Promise.resolve();
      if (fails) throw new Error('source broke');
      yield randomBytes(9 << 20);
    };
    await assert.rejects(direct.write('parts/a', Readable.from(body(true))), /source broke/);
    const impatient = new S3Store({ ...server, endpoint: proxy.url, timeouts: { answerMs: 5_000 } });
    proxy.decide = (request) => (request.url?.includes('partNumber=2') === true ? answer(400, 'InvalidPart') : PASS);
    await assert.rejects(impatient.write('parts/b', Readable.from(body(false))), hasCode('OBJECT_STORE_UNAVAILABLE'));
    await impatient.close();
    const client = new S3Client({ ...server, region: 'us-east-1', forcePathStyle: true });
    const open = await client.send(new ListMultipartUploadsCommand({ Bucket: server.bucket }));
    client.destroy();
    assert.deepEqual(open.Uploads ?? [], []);
    assert.deepEqual(await direct.list('parts/'), []);
  });

  it('signs URLs that anyone can read for a while', async () => {
    const key = await put(Buffer.from('abc'));
    const url = await direct.presign(key, { expiresSeconds: 60, fileName: 'my "model".onnx' });
    assert.ok(url !== undefined);
    const response = await fetch(url);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-disposition'), 'attachment; filename="my__model_.onnx"');
    assert.equal(await response.text(), 'abc');
    assert.equal((await fetch(url.replace(key, `${key}x`))).status, 403);
  });
});
