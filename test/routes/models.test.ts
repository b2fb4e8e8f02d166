import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { startApp, type TestApp } from '../helpers/http-app.ts';

const EXAMPLE = 'examples/fashion-mnist/fashion-resnet8.onnx';
const binary = { 'content-type': 'application/octet-stream' };

describe('/v1/models', () => {
  let test: TestApp;
  let bytes: Buffer;
  before(async () => {
    test = await startApp();
    bytes = await readFile(EXAMPLE);
  });
  after(() => test.close());

  it('stores an upload under its hash, and answers 200 when it is there already', async () => {
    const first = await test.app.inject({ method: 'POST', url: '/v1/models', headers: binary, payload: bytes });
    assert.equal(first.statusCode, 201, first.body);
    const model = first.json<{ id: string; sha256: string; bytes: number; operators: Record<string, number> }>();
    assert.equal(model.sha256, createHash('sha256').update(bytes).digest('hex'));
    assert.equal(model.bytes, bytes.byteLength);
    assert.equal(first.headers.location, `/v1/models/${model.id}`);
    const second = await test.app.inject({ method: 'POST', url: '/v1/models', headers: binary, payload: bytes });
    assert.equal(second.statusCode, 200);
    assert.deepEqual(second.json(), model);
  });
});
