// The default checks of Schemathesis, with fast-check over inject: no 5xx whatever comes in, every answer is described in
// the OpenAPI document, every refusal is a problem document, and an identifier never works after its deletion.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { addModel } from '../helpers/onnx-bytes.ts';

const RUNS = 200;
const anyJson = fc.jsonValue({ maxDepth: 4 });
const names = ['model', 'recipe', 'data', 'preprocess', 'constraints', 'target', 'threads', 'seed', 'deadlineSeconds'];
const more = ['priority', 'webhook', 'metadata', 'id', 'status', '__proto__', 'constructor', 'toString'];
const anyString = fc.string({ unit: 'binary', maxLength: 40 });
const step = fc.dictionary(fc.constantFrom('pass', 'weights', 'perChannel', 'exclude', 'method'), anyJson, {
  maxKeys: 4,
});
const recipe = fc.oneof(
  fc.constantFrom('int8-dynamic', 'int8', 'x'),
  fc.record({ version: fc.oneof(fc.constant(1), anyJson), steps: fc.array(fc.oneof(step, anyJson), { maxLength: 4 }) }),
  anyJson,
);
const role = fc.dictionary(fc.constantFrom('dataset', 'samples', 'range', 'inputs', 'labels', 'metric'), anyJson);

describe('fuzz', () => {
  let test: TestApp;
  let model: string;
  let described: Map<string, Set<string>>;
  before(async () => {
    test = await startApp({ RATE_LIMIT_READS_PER_MINUTE: '0', RATE_LIMIT_WRITES_PER_MINUTE: '0' });
    const headers = { 'content-type': 'application/octet-stream' };
    const upload = await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload: addModel() });
    model = upload.json<{ id: string }>().id;
    const { paths } = (await test.app.inject({ url: '/openapi.json' })).json<{
      paths: Record<string, Record<string, { responses: object }>>;
    }>();
    described = new Map(
      Object.entries(paths).flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { responses }]): [string, Set<string>] => [
          `${method} ${path}`,
          new Set(Object.keys(responses)),
        ]),
      ),
    );
  });
  after(() => test.close());

  const check = (route: string, response: { statusCode: number; headers: object; body: string }): void => {
    const where = `${route}: ${response.statusCode} ${response.body.slice(0, 500)}`;
    assert.ok(response.statusCode < 500, where);
    assert.ok(described.get(route)?.has(String(response.statusCode)), `${where} is not described`);
    if (response.statusCode >= 400) {
      assert.equal((response.headers as Record<string, unknown>)['content-type'], 'application/problem+json', where);
      const problem = JSON.parse(response.body) as { status: number; code: string; detail: string };
      assert.equal(problem.status, response.statusCode);
      assert.ok(problem.detail.length > 0 && problem.code.length > 0);
    }
  };

  it('POST /v1/jobs with bodies close to right ones', async () => {
    const body = fc.record(
      {
        model: fc.oneof({ weight: 5, arbitrary: fc.constant(() => model) }, { weight: 1, arbitrary: anyJson }),
        recipe,
        data: fc.dictionary(fc.constantFrom('calibration', 'training', 'evaluation', 'x'), fc.oneof(role, anyJson)),
        seed: fc.oneof(fc.double(), fc.integer(), anyJson),
        constraints: fc.dictionary(fc.constantFrom('maxBytes', 'minSpeedup', 'x'), fc.oneof(fc.double(), anyJson)),
        metadata: fc.dictionary(anyString, anyString),
        webhook: fc.record({ url: fc.oneof(fc.webUrl(), anyString) }),
      },
      { requiredKeys: ['model'] },
    );
    await fc.assert(
      fc.asyncProperty(body, async (value) => {
        const resolved = { ...value, model: typeof value.model === 'function' ? value.model() : value.model };
        const payload = JSON.stringify(resolved);
        const response = await test.app.inject({
          method: 'POST',
          url: '/v1/jobs?dryRun=true',
          headers: { 'content-type': 'application/json' },
          payload,
        });
        check('post /v1/jobs', response);
      }),
      { numRuns: RUNS },
    );
  });

  it('POST /v1/jobs with any JSON, and with any bytes', async () => {
    const wild = fc.dictionary(fc.oneof(fc.constantFrom(...names, ...more), anyString), anyJson, { maxKeys: 6 });
    const payloads = fc.oneof(
      wild.map((value) => Buffer.from(JSON.stringify(value))),
      anyJson.map((value) => Buffer.from(JSON.stringify(value))),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    );
    await fc.assert(
      fc.asyncProperty(payloads, async (payload) => {
        const headers = { 'content-type': 'application/json' };
        check('post /v1/jobs', await test.app.inject({ method: 'POST', url: '/v1/jobs', headers, payload }));
      }),
      { numRuns: RUNS },
    );
  });

  it('queries and ids of every kind', async () => {
    const word = fc.oneof(
      anyString,
      fc.constantFrom('', '0', '-1', '1e9', 'job_0123456789abcdef', '..', '%00', 'true'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('limit', 'cursor', 'status', 'model', 'x'),
        word,
        word,
        async (name, value, id) => {
          const query = `${name}=${encodeURIComponent(value.replace(/\p{Surrogate}/gu, ''))}`;
          for (const list of ['models', 'datasets', 'jobs'])
            check(`get /v1/${list}`, await test.app.inject({ url: `/v1/${list}?${query}` }));
          const part = encodeURIComponent(id.replace(/\p{Surrogate}/gu, ''));
          if (part === '' || part === '.' || part === '..') return;
          check('get /v1/jobs/{id}', await test.app.inject({ url: `/v1/jobs/${part}` }));
          check('get /v1/models/{id}', await test.app.inject({ url: `/v1/models/${part}` }));
          const url = `/v1/jobs/job_0123456789abcdef/artifacts/${part}`;
          check('get /v1/jobs/{id}/artifacts/{name}', await test.app.inject({ url }));
        },
      ),
      { numRuns: RUNS / 2 },
    );
  });

  it('uploads: a sound model with bytes changed, cut and added', async () => {
    const sound = addModel();
    const change = fc.record({
      at: fc.nat(sound.length - 1),
      value: fc.nat(255),
      cut: fc.oneof(fc.constant(sound.length), fc.nat(sound.length)),
      tail: fc.uint8Array({ maxLength: 8 }),
    });
    const headers = { 'content-type': 'application/octet-stream' };
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), async (changes) => {
        let payload = Buffer.from(sound);
        for (const { at, value, cut, tail } of changes) {
          if (at < payload.length) payload[at] = value;
          payload = Buffer.concat([payload.subarray(0, cut), tail]);
        }
        check('post /v1/models', await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload }));
        check('post /v1/datasets', await test.app.inject({ method: 'POST', url: '/v1/datasets', headers, payload }));
      }),
      { numRuns: RUNS / 2 },
    );
  });

  it('headers of every kind', async () => {
    const latin = fc.string({
      unit: fc.integer({ min: 32, max: 126 }).map((code) => String.fromCharCode(code)),
      maxLength: 60,
    });
    const header = fc.constantFrom(
      'accept',
      'range',
      'if-range',
      'if-none-match',
      'last-event-id',
      'content-type',
      'idempotency-key',
      'host',
    );
    await fc.assert(
      fc.asyncProperty(header, latin, async (name, value) => {
        for (const [route, url] of [
          ['get /v1/models/{id}/content', `/v1/models/${model}/content`],
          ['get /v1/jobs/{id}/events', '/v1/jobs/job_0123456789abcdef/events'],
          ['get /v1/jobs/{id}/report', '/v1/jobs/job_0123456789abcdef/report'],
        ] as const)
          check(route, await test.app.inject({ url, headers: { [name]: value } }));
      }),
      { numRuns: RUNS / 2 },
    );
  });

  it('still answers after all of that', async () => {
    assert.equal((await test.app.inject({ url: '/readyz' })).statusCode, 200);
  });
});
