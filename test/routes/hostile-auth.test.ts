// The A list of the threat model: who is let in, and what they see.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { keyHash, startApp, type TestApp } from '../helpers/http-app.ts';

const KEYS = {
  acme: 'key-of-acme',
  other: 'key-of-other',
  reader: 'key-of-reader',
  expired: 'key-of-old',
  lasting: 'key-of-new',
};
const ENV = {
  API_KEYS: [
    `acme:${keyHash(KEYS.acme)}`,
    `other:${keyHash(KEYS.other)}`,
    `acme:${keyHash(KEYS.reader)}:read`,
    `acme:${keyHash(KEYS.expired)}:2020-01-01`,
    `acme:${keyHash(KEYS.lasting)}:read:2999-12-31`,
  ].join(),
};
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

describe('authentication', () => {
  let test: TestApp;
  before(async () => {
    test = await startApp(ENV);
  });
  after(() => test.close());

  const refused: readonly (readonly [name: string, headers: Record<string, string>, url?: string])[] = [
    ['A1 no key', {}],
    ['A2 not a bearer', { authorization: `Basic ${KEYS.acme}` }],
    ['A2 a key nobody has', bearer('nck_unknown')],
    ['A2 the hash instead of the key', bearer(keyHash(KEYS.acme))],
    ['A2 an enormous key', bearer('a'.repeat(5000))],
    ['A3 a key past its day', bearer(KEYS.expired)],
    ['A4 the key in the query', {}, `/v1/jobs?key=${KEYS.acme}`],
    ['A8 trailing spaces and a tab inside', bearer(`${KEYS.acme}\tx`)],
    ['A10 other case', bearer(KEYS.acme.toUpperCase())],
    ['A10 full-width letters', { authorization: 'Bearer key-of-ac\u00ede' }],
    ['a path in other case', {}, '/V1/jobs'],
    ['an encoded path', {}, '/%76%31/jobs'],
    ['a double slash', {}, '//v1/jobs'],
  ];
  for (const [name, headers, url = '/v1/jobs'] of refused)
    it(`${name}: 401`, async () => {
      const response = await test.app.inject({ url, headers });
      assert.equal(response.statusCode, 401, response.body);
      assert.equal(response.json<{ code: string }>().code, 'UNAUTHENTICATED');
      assert.match(String(response.headers['www-authenticate']), /^Bearer/);
    });

  it('refuses before it reads a body', async () => {
    const response = await test.app.inject({
      method: 'POST',
      url: '/v1/jobs',
      headers: { 'content-type': 'text/nonsense' },
      payload: 'x'.repeat(1000),
    });
    assert.equal(response.statusCode, 401);
  });

  it('A8 two Authorization headers: 401', async () => {
    await test.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = test.app.server.address() as AddressInfo;
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const call = httpRequest({ port, path: '/v1/jobs', host: '127.0.0.1' }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      call.setHeader('Authorization', [`Bearer ${KEYS.acme}`, `Bearer ${KEYS.other}`]);
      call.on('error', reject);
      call.end();
    });
    assert.equal(status, 401);
  });

  it('lets a good key in, and leaves health, documents and the page open', async () => {
    for (const key of [KEYS.acme, KEYS.lasting])
      assert.equal((await test.app.inject({ url: '/v1/jobs', headers: bearer(key) })).statusCode, 200);
    for (const url of ['/', '/healthz', '/readyz', '/metrics', '/openapi.json'])
      assert.equal((await test.app.inject({ url })).statusCode, 200, url);
  });

  it('A6 a key that may only read: GET 200, POST and DELETE 403', async () => {
    const headers = bearer(KEYS.reader);
    assert.equal((await test.app.inject({ url: '/v1/jobs', headers })).statusCode, 200);
    const post = await test.app.inject({ method: 'POST', url: '/v1/jobs', headers, payload: {} });
    assert.equal(post.statusCode, 403);
    assert.equal(post.json<{ code: string }>().code, 'FORBIDDEN');
    const remove = await test.app.inject({ method: 'DELETE', url: '/v1/jobs/job_0123456789abcdef', headers });
    assert.equal(remove.statusCode, 403);
  });
});

describe('A7 many bad keys from one address', () => {
  it('turns 401 into 429 with Retry-After, and leaves good keys alone', async () => {
    const test = await startApp(ENV);
    try {
      const statuses = new Map<number, number>();
      for (let n = 0; n < 200; n += 1) {
        const { statusCode, headers } = await test.app.inject({ url: '/v1/jobs', headers: bearer(`bad-${n}`) });
        statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1);
        if (statusCode === 429) assert.ok(Number(headers['retry-after']) >= 1);
      }
      assert.deepEqual([...statuses.keys()], [401, 429]);
      assert.equal((await test.app.inject({ url: '/v1/jobs', headers: bearer(KEYS.acme) })).statusCode, 200);
    } finally {
      await test.close();
    }
  });
});

describe('A5 and API1: ids of another tenant', () => {
  let test: TestApp;
  const ids = { model: '', dataset: '', job: '' };
  before(async () => {
    test = await startApp(ENV);
    const headers = { ...bearer(KEYS.acme), 'content-type': 'application/octet-stream' };
    const model = await readFile('examples/fashion-mnist/fashion-resnet8.onnx');
    ids.model = (await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload: model })).json<{
      id: string;
    }>().id;
    const { npy } = await import('./npy-bytes.ts');
    const dataset = await test.app.inject({ method: 'POST', url: '/v1/datasets', headers, payload: npy([4, 2]) });
    ids.dataset = dataset.json<{ id: string }>().id;
    const job = await test.app.inject({
      method: 'POST',
      url: '/v1/jobs',
      headers: bearer(KEYS.acme),
      payload: { model: ids.model, recipe: 'int8-dynamic' },
    });
    ids.job = job.json<{ id: string }>().id;
    assert.match(`${ids.model} ${ids.dataset} ${ids.job}`, /^mdl_\w+ dst_\w+ job_\w+$/);
  });
  after(() => test.close());

  it('answers 404 on every route that takes an id, as if there were nothing', async () => {
    const routes: [method: 'GET' | 'POST' | 'DELETE', url: string][] = [];
    const document = (await test.app.inject({ url: '/openapi.json' })).json<{
      paths: Record<string, Record<string, unknown>>;
    }>();
    for (const [path, methods] of Object.entries(document.paths)) {
      if (!path.includes('{')) continue;
      const kind = /\/v1\/(models|datasets|jobs)\//.exec(path)?.[1];
      if (kind === undefined) continue;
      const id = { models: ids.model, datasets: ids.dataset, jobs: ids.job }[kind] ?? '';
      for (const method of Object.keys(methods)) {
        const url = path.replace('{id}', id).replace('{name}', 'model.onnx');
        routes.push([method.toUpperCase() as 'GET', url]);
      }
    }
    assert.ok(routes.length >= 14, `only ${routes.length} routes`);
    for (const [method, url] of routes) {
      const response = await test.app.inject({ method, url, headers: bearer(KEYS.other) });
      assert.equal(response.statusCode, 404, `${method} ${url}: ${response.statusCode} ${response.body}`);
    }
    // The owner still sees all of it: nothing above did anything.
    for (const url of [`/v1/models/${ids.model}`, `/v1/datasets/${ids.dataset}`, `/v1/jobs/${ids.job}`])
      assert.equal((await test.app.inject({ url, headers: bearer(KEYS.acme) })).statusCode, 200);
  });

  it('does not list them, and does not take them in a job', async () => {
    for (const url of ['/v1/models', '/v1/datasets', '/v1/jobs'])
      assert.deepEqual((await test.app.inject({ url, headers: bearer(KEYS.other) })).json(), {
        items: [],
        nextCursor: null,
      });
    const job = await test.app.inject({
      method: 'POST',
      url: '/v1/jobs',
      headers: bearer(KEYS.other),
      payload: { model: ids.model, recipe: 'int8-dynamic' },
    });
    assert.equal(job.statusCode, 404);
    assert.equal(job.json<{ errors: { pointer: string }[] }>().errors[0]?.pointer, '/model');
  });

  it('keeps contents apart: deleting a copy leaves the other one', async () => {
    const model = await readFile('examples/fashion-mnist/fashion-resnet8.onnx');
    const headers = { ...bearer(KEYS.other), 'content-type': 'application/octet-stream' };
    const upload = await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload: model });
    assert.equal(upload.statusCode, 201);
    const removed = await test.app.inject({
      method: 'DELETE',
      url: `/v1/models/${ids.model}`,
      headers: bearer(KEYS.other),
    });
    assert.equal(removed.statusCode, 204);
    const content = await test.app.inject({ url: `/v1/models/${ids.model}/content`, headers: bearer(KEYS.acme) });
    assert.deepEqual(content.rawPayload, model);
  });
});

describe('rate limits and quotas', () => {
  it('throttles one key and not the other, and says what is left', async () => {
    const test = await startApp({ ...ENV, RATE_LIMIT_READS_PER_MINUTE: '3' });
    try {
      const answers = [];
      for (let n = 0; n < 4; n += 1)
        answers.push(await test.app.inject({ url: '/v1/passes', headers: bearer(KEYS.acme) }));
      assert.deepEqual(
        answers.map(({ statusCode }) => statusCode),
        [200, 200, 200, 429],
      );
      assert.match(String(answers[0]?.headers['ratelimit']), /^"reads";r=2;t=\d+$/);
      assert.equal(answers[0]?.headers['ratelimit-policy'], '"reads";q=3;w=60');
      assert.ok(Number(answers[3]?.headers['retry-after']) >= 1);
      assert.equal((await test.app.inject({ url: '/v1/passes', headers: bearer(KEYS.other) })).statusCode, 200);
    } finally {
      await test.close();
    }
  });

  it('refuses a job above the number a tenant may have at work', async () => {
    const test = await startApp({ TENANT_MAX_ACTIVE_JOBS: '2' });
    try {
      const payload = await readFile('examples/fashion-mnist/fashion-resnet8.onnx');
      const headers = { 'content-type': 'application/octet-stream' };
      const { id } = (await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload })).json<{
        id: string;
      }>();
      const post = () =>
        test.app.inject({ method: 'POST', url: '/v1/jobs', payload: { model: id, recipe: 'int8-dynamic' } });
      assert.deepEqual([(await post()).statusCode, (await post()).statusCode], [202, 202]);
      const third = await post();
      assert.equal(third.statusCode, 429);
      assert.equal(third.json<{ code: string }>().code, 'QUOTA_EXCEEDED');
    } finally {
      await test.close();
    }
  });
});
