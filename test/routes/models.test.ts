import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import type { ModelResource } from '../../src/schemas/model.ts';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { addModel } from '../helpers/onnx-bytes.ts';

const EXAMPLE = 'examples/fashion-mnist/fashion-resnet8.onnx';
const binary = { 'content-type': 'application/octet-stream' };
const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

type Part = readonly [name: string, fileName: string, bytes: Uint8Array];

/** A multipart body: name, file name and bytes of each part. */
function form(parts: readonly Part[]) {
  const chunks = parts.flatMap(([name, fileName, bytes]) => [
    Buffer.from(
      `--XX\r\nContent-Disposition: form-data; name="${name}"; filename="${fileName}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
    ),
    bytes,
    Buffer.from('\r\n'),
  ]);
  return {
    headers: { 'content-type': 'multipart/form-data; boundary=XX' },
    payload: Buffer.concat([...chunks, Buffer.from('--XX--\r\n')]),
  };
}

describe('/v1/models', () => {
  let test: TestApp;
  let bytes: Buffer;
  const objects = new Map<string, Buffer>();
  const upload = (payload: Buffer) => test.app.inject({ method: 'POST', url: '/v1/models', headers: binary, payload });
  before(async () => {
    test = await startApp({ MODEL_MAX_BYTES: '400000' }, (deps) => ({
      ...deps,
      sources: {
        lookUp: (url) => {
          const found = objects.get(url);
          if (found === undefined)
            return Promise.reject(new CompressionError('INPUT_NOT_FOUND', `${url} is not there`));
          return Promise.resolve({ bytes: found.length, open: () => Promise.resolve(Readable.from([found])) });
        },
      },
    }));
    bytes = await readFile(EXAMPLE);
  });
  after(() => test.close());

  it('stores an upload under its hash, and answers 200 when it is there already', async () => {
    const first = await upload(bytes);
    assert.equal(first.statusCode, 201, first.body);
    const model = first.json<ModelResource>();
    assert.equal(model.sha256, hash(bytes));
    assert.equal(model.bytes, bytes.byteLength);
    assert.equal(model.opset, 21);
    assert.deepEqual(model.inputs, [{ name: 'input', type: 'float', shape: ['batch', 1, 28, 28] }]);
    assert.deepEqual(model.outputs, [{ name: 'logits', type: 'float', shape: ['batch', 10] }]);
    assert.equal(model.operators['Conv'], 9);
    assert.equal(first.headers.location, `/v1/models/${model.id}`);
    const second = await upload(bytes);
    assert.equal(second.statusCode, 200);
    assert.deepEqual(second.json(), model);
    assert.deepEqual((await test.app.inject({ url: `/v1/models/${model.id}` })).json(), model);
  });

  it('leaves nothing of an upload in the spool', async () => {
    await upload(bytes);
    assert.deepEqual(await readdir(join(test.folder, 'spool')), []);
  });

  it('gives the very same bytes back, whole and in part', async () => {
    const { id } = (await upload(bytes)).json<ModelResource>();
    const url = `/v1/models/${id}/content`;
    const whole = await test.app.inject({ url });
    assert.equal(whole.statusCode, 200);
    assert.deepEqual(whole.rawPayload, bytes);
    assert.equal(whole.headers.etag, `"${hash(bytes)}"`);
    assert.equal(whole.headers['content-disposition'], `attachment; filename="${id}.onnx"`);
    const part = await test.app.inject({ url, headers: { range: 'bytes=10-19' } });
    assert.equal(part.statusCode, 206);
    assert.deepEqual(part.rawPayload, bytes.subarray(10, 20));
    assert.equal(part.headers['content-range'], `bytes 10-19/${bytes.length}`);
  });

  const bad: readonly (readonly [name: string, payload: Buffer, code: string])[] = [
    ['O1 an empty file', Buffer.alloc(0), 'MODEL_PARSE'],
    ['O3 random bytes', Buffer.from(Array.from({ length: 4096 }, (_, n) => (n * 7919) % 251)), 'MODEL_PARSE'],
    ['O4 a web page', Buffer.from('<!doctype html><html></html>'), 'MODEL_PARSE'],
    ['O4 a zip', Buffer.from('PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'latin1'), 'MODEL_PARSE'],
    ['O7 external data outside of the folder', addModel({ location: '../x' }), 'MODEL_EXTERNAL_DATA'],
    ['O9 external data at an absolute path', addModel({ location: '/etc/passwd' }), 'MODEL_EXTERNAL_DATA'],
    ['external data that was not sent', addModel({ location: 'w.bin' }), 'MODEL_EXTERNAL_DATA'],
  ];
  for (const [name, payload, code] of bad)
    it(`${name}: 422 ${code}`, async () => {
      const response = await upload(payload);
      assert.equal(response.statusCode, 422, response.body);
      assert.equal(response.json<{ code: string }>().code, code);
    });

  it('O2 a truncated model: 422, and it is not listed', async () => {
    const response = await upload(bytes.subarray(0, 100_000));
    assert.equal(response.statusCode, 422);
    const { items } = (await test.app.inject({ url: '/v1/models' })).json<{ items: ModelResource[] }>();
    assert.ok(items.every((item) => item.bytes !== 100_000));
  });

  it('refuses what is larger than the limit, announced or not', async () => {
    const large = Buffer.alloc(400_001);
    const announced = await upload(large);
    assert.equal(announced.statusCode, 413);
    const streamed = await test.app.inject({
      method: 'POST',
      url: '/v1/models',
      headers: binary,
      payload: Readable.from([large.subarray(0, 200_000), large.subarray(200_000)]),
    });
    assert.equal(streamed.statusCode, 413);
    assert.equal(streamed.json<{ code: string }>().code, 'PAYLOAD_TOO_LARGE');
  });

  it('takes a model with its external data', async () => {
    const model = addModel({ location: 'weights/w.bin' });
    const data = Buffer.alloc(16, 1);
    const response = await test.app.inject({
      method: 'POST',
      url: '/v1/models',
      ...form([
        ['external', 'weights/w.bin', data],
        ['model', 'model.onnx', model],
      ]),
    });
    assert.equal(response.statusCode, 201, response.body);
    const body = response.json<ModelResource>();
    assert.equal(body.bytes, model.length + 16);
    assert.deepEqual(body.externalData, [{ location: 'weights/w.bin', bytes: 16, sha256: hash(data) }]);
    const content = await test.app.inject({ url: `/v1/models/${body.id}/content` });
    assert.deepEqual(content.rawPayload, model);
  });

  const badForms: readonly (readonly [name: string, parts: readonly Part[], status: number])[] = [
    ['no model', [['external', 'w.bin', Buffer.alloc(16)]], 400],
    [
      'two models',
      [
        ['model', 'a', addModel()],
        ['model', 'b', addModel()],
      ],
      400,
    ],
    [
      'an unknown part',
      [
        ['model', 'a', addModel()],
        ['readme', 'b', Buffer.alloc(3)],
      ],
      400,
    ],
    [
      'a location that climbs',
      [
        ['model', 'a', addModel()],
        ['external', '../w.bin', Buffer.alloc(16)],
      ],
      422,
    ],
    [
      'an absolute location',
      [
        ['model', 'a', addModel()],
        ['external', '/etc/passwd', Buffer.alloc(16)],
      ],
      422,
    ],
    [
      'a file no tensor lies in',
      [
        ['model', 'a', addModel()],
        ['external', 'w.bin', Buffer.alloc(16)],
      ],
      422,
    ],
    [
      'external data that is too short',
      [
        ['model', 'a', addModel({ location: 'w.bin' })],
        ['external', 'w.bin', Buffer.alloc(8)],
      ],
      422,
    ],
  ];
  for (const [name, parts, status] of badForms)
    it(`multipart with ${name}: ${status}`, async () => {
      const response = await test.app.inject({ method: 'POST', url: '/v1/models', ...form(parts) });
      assert.equal(response.statusCode, status, response.body);
    });

  it('takes an object of a bucket, and holds it to the announced hash', async () => {
    const model = addModel({ producer: 'from a bucket' });
    objects.set('s3://input/model.onnx', model);
    const post = (payload: object) => test.app.inject({ method: 'POST', url: '/v1/models', payload });
    const wrong = await post({ source: 's3://input/model.onnx', sha256: '0'.repeat(64) });
    assert.equal(wrong.statusCode, 422);
    assert.equal(wrong.json<{ code: string }>().code, 'INPUT_CHECKSUM');
    const right = await post({ source: 's3://input/model.onnx', sha256: hash(model) });
    assert.equal(right.statusCode, 201, right.body);
    assert.equal((await post({ source: 's3://input/none' })).statusCode, 404);
    objects.set('s3://input/large', Buffer.alloc(500_000));
    const large = await post({ source: 's3://input/large' });
    assert.equal(large.statusCode, 413);
    assert.equal(large.json<{ code: string }>().code, 'LIMIT_SIZE');
  });

  it('lists newest first, in pages', async () => {
    for (const producer of ['a', 'b', 'c']) {
      assert.equal((await upload(addModel({ producer }))).statusCode, 201);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    const seen: string[] = [];
    let cursor: string | null;
    let next = '';
    do {
      const url = `/v1/models?limit=2${next}`;
      const page: { items: ModelResource[]; nextCursor: string | null } = (await test.app.inject({ url })).json();
      assert.ok(page.items.length <= 2);
      seen.push(...page.items.map(({ producer }) => producer));
      cursor = page.nextCursor;
      next = `&cursor=${cursor}`;
    } while (cursor !== null);
    assert.deepEqual(seen.slice(0, 3), ['c', 'b', 'a']);
    assert.ok(seen.length > 3);
  });

  it('keeps the bytes when a delete and an upload of the same model meet', async () => {
    const payload = addModel({ producer: 'race' });
    for (let round = 0; round < 8; round += 1) {
      const { id } = (await upload(payload)).json<ModelResource>();
      const [, again] = await Promise.all([
        test.app.inject({ method: 'DELETE', url: `/v1/models/${id}` }),
        upload(payload),
      ]);
      assert.ok([200, 201, 409].includes(again.statusCode), again.body);
      const content = await test.app.inject({ url: `/v1/models/${id}/content` });
      // Whoever came last wins, but a model that is there has its bytes.
      if (content.statusCode !== 404) assert.equal(content.statusCode, 200, content.body);
      if (content.statusCode === 200) assert.deepEqual(content.rawPayload, payload);
    }
  });

  it('does not show the fields that only the store needs', async () => {
    const model = (await upload(bytes)).json<object>();
    assert.ok(!Object.hasOwn(model, 'holder'));
  });

  it('deletes, but not what an active job needs', async () => {
    const { id } = (await upload(addModel({ producer: 'to delete' }))).json<ModelResource>();
    const job = await test.app.inject({
      method: 'POST',
      url: '/v1/jobs',
      payload: { model: id, recipe: 'int8-dynamic' },
    });
    assert.equal(job.statusCode, 202, job.body);
    const busy = await test.app.inject({ method: 'DELETE', url: `/v1/models/${id}` });
    assert.equal(busy.statusCode, 409);
    assert.equal(busy.json<{ code: string }>().code, 'IN_USE');
    await test.app.inject({ method: 'POST', url: `/v1/jobs/${job.json<{ id: string }>().id}/cancel` });
    assert.equal((await test.app.inject({ method: 'DELETE', url: `/v1/models/${id}` })).statusCode, 204);
    assert.equal((await test.app.inject({ url: `/v1/models/${id}` })).statusCode, 404);
    assert.equal((await upload(addModel({ producer: 'to delete' }))).statusCode, 201);
  });
});
