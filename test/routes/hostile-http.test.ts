// The H list of the threat model, table-driven: each bad request gets its stated answer, nothing gets a 5xx, and the
// service goes on.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { startApp, type TestApp } from '../helpers/http-app.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const JOB = { model: 'mdl_0123456789abcdef', recipe: 'int8-dynamic' };

interface Case {
  readonly name: string;
  readonly url?: string;
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'TRACE';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly expect: number | readonly number[];
  readonly code?: string;
  readonly pointer?: string;
}

const text = (value: unknown): string => JSON.stringify(value);
const withMetadata = (literal: string): string => `{"model":"mdl_0123456789abcdef","recipe":"int8-dynamic",${literal}}`;

const CASES: readonly Case[] = [
  { name: 'H1 empty body', headers: JSON_TYPE, body: '', expect: 400 },
  { name: 'H1 no body and no type', expect: 400, code: 'BODY_INVALID' },
  { name: 'H2 truncated JSON', headers: JSON_TYPE, body: '{"model":', expect: 400, code: 'BODY_INVALID' },
  {
    name: 'H3 body over the limit',
    headers: JSON_TYPE,
    body: `"${'a'.repeat(256 * 1024)}"`,
    expect: 413,
    code: 'PAYLOAD_TOO_LARGE',
  },
  { name: 'H5 body without a type', headers: { 'content-length': '2' }, body: '{}', expect: 415 },
  {
    name: 'H5 xml',
    headers: { 'content-type': 'application/xml' },
    body: '<a/>',
    expect: 415,
    code: 'UNSUPPORTED_MEDIA_TYPE',
  },
  { name: 'H5 text/plain', headers: { 'content-type': 'text/plain' }, body: text(JOB), expect: 415 },
  { name: 'H5 urlencoded', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'a=1', expect: 415 },
  {
    name: 'H5 octets where JSON is taken',
    headers: { 'content-type': 'application/octet-stream' },
    body: text(JOB),
    expect: 415,
  },
  {
    name: 'H6 garbage after the type',
    headers: { 'content-type': 'application/json garbage' },
    body: text(JOB),
    expect: 415,
  },
  { name: 'H6 tab and garbage', headers: { 'content-type': 'application/json\ta' }, body: text(JOB), expect: 415 },
  { name: 'H6 two types', headers: { 'content-type': 'application/json, text/plain' }, body: text(JOB), expect: 415 },
  {
    name: 'H6 unknown parameter',
    headers: { 'content-type': 'application/json; boundary=x' },
    body: text(JOB),
    expect: 415,
  },
  { name: 'H7 utf-16', headers: { 'content-type': 'application/json; charset=utf-16' }, body: text(JOB), expect: 415 },
  {
    name: 'H7 utf-8 spelled out is fine',
    headers: { 'content-type': 'application/json; charset="UTF-8"' },
    body: text(JOB),
    expect: 404,
  },
  { name: 'H8 gzip', headers: { ...JSON_TYPE, 'content-encoding': 'gzip' }, body: gzipSync(text(JOB)), expect: 415 },
  { name: 'H12 TRACE', method: 'TRACE', url: '/v1/jobs', expect: 405 },
  { name: 'H12 PUT', method: 'PUT', url: '/v1/jobs', expect: 405, code: 'METHOD_NOT_ALLOWED' },
  { name: 'H12 PATCH with a body', method: 'PATCH', url: '/v1/jobs', headers: JSON_TYPE, body: '{}', expect: 405 },
  { name: 'H12 unknown route', method: 'GET', url: '/v1/nothing', expect: 404, code: 'NOT_FOUND' },
  { name: 'H12 unknown route with a body', url: '/v2/jobs', headers: JSON_TYPE, body: '{}', expect: 404 },
  {
    name: 'H14 __proto__',
    headers: JSON_TYPE,
    body: withMetadata('"__proto__":{"a":1}'),
    expect: 400,
    pointer: '/__proto__',
  },
  {
    name: 'H14 nested __proto__',
    headers: JSON_TYPE,
    body: withMetadata('"metadata":{"__proto__":"x"}'),
    expect: 400,
    pointer: '/metadata/__proto__',
  },
  {
    name: 'H15 constructor.prototype',
    headers: JSON_TYPE,
    body: withMetadata('"constructor":{"prototype":{"a":1}}'),
    expect: 400,
    pointer: '/constructor',
  },
  {
    name: 'H16 duplicate keys: the last counts, here a bad one',
    headers: JSON_TYPE,
    body: withMetadata('"seed":1,"seed":"x"'),
    expect: 400,
    pointer: '/seed',
  },
  {
    name: 'H16 duplicate keys: the last counts, here a good one',
    headers: JSON_TYPE,
    body: withMetadata('"seed":"x","seed":1'),
    expect: 404,
  },
  { name: 'H17 100,000 arrays deep', headers: JSON_TYPE, body: '['.repeat(100_000) + ']'.repeat(100_000), expect: 400 },
  { name: 'H18 1e400', headers: JSON_TYPE, body: withMetadata('"seed":1e400'), expect: 400, pointer: '/seed' },
  { name: 'H18 NaN', headers: JSON_TYPE, body: withMetadata('"seed":NaN'), expect: 400 },
  { name: 'H18 -0', headers: JSON_TYPE, body: withMetadata('"seed":-0'), expect: 400, pointer: '/seed' },
  {
    name: 'H18 2^53+1',
    headers: JSON_TYPE,
    body: withMetadata('"seed":9007199254740993'),
    expect: 400,
    pointer: '/seed',
  },
  {
    name: 'H19 "5" for an integer',
    headers: JSON_TYPE,
    body: withMetadata('"seed":"5"'),
    expect: 400,
    pointer: '/seed',
  },
  {
    name: 'H19 true for an integer',
    headers: JSON_TYPE,
    body: withMetadata('"seed":true'),
    expect: 400,
    pointer: '/seed',
  },
  {
    name: 'H19 null for an integer',
    headers: JSON_TYPE,
    body: withMetadata('"seed":null'),
    expect: 400,
    pointer: '/seed',
  },
  {
    name: 'H19 a scalar for an array',
    headers: JSON_TYPE,
    body: withMetadata('"webhook":{"url":"https://a.example","events":"job.failed"}'),
    expect: 400,
    pointer: '/webhook/events',
  },
  { name: 'H20 unknown field', headers: JSON_TYPE, body: withMetadata('"sede":1'), expect: 400, pointer: '/sede' },
  {
    name: 'API3 fields of ours',
    headers: JSON_TYPE,
    body: withMetadata('"status":"succeeded","tenant":"x","attempt":7'),
    expect: 400,
    pointer: '/tenant',
  },
  {
    name: 'H20 unknown query',
    url: '/v1/jobs?dryrun=true',
    headers: JSON_TYPE,
    body: text(JOB),
    expect: 400,
    code: 'QUERY_INVALID',
    pointer: '/dryrun',
  },
  {
    name: 'H21 NUL',
    headers: JSON_TYPE,
    body: withMetadata('"metadata":{"a":"x\\u0000y"}'),
    expect: 400,
    pointer: '/metadata/a',
  },
  {
    name: 'H21 escape sequence',
    headers: JSON_TYPE,
    body: withMetadata('"metadata":{"a":"\\u001b[31m"}'),
    expect: 400,
    pointer: '/metadata/a',
  },
  {
    name: 'H21 text direction',
    headers: JSON_TYPE,
    body: withMetadata('"metadata":{"a":"\\u202etxt"}'),
    expect: 400,
    pointer: '/metadata/a',
  },
  {
    name: 'H21 lone surrogate',
    headers: JSON_TYPE,
    body: withMetadata('"metadata":{"a":"\\ud800"}'),
    expect: 400,
    pointer: '/metadata/a',
  },
  {
    name: 'H21 control character in a key',
    headers: JSON_TYPE,
    body: withMetadata('"metadata":{"a\\u0007":"b"}'),
    expect: 400,
  },
  {
    name: 'H22 invalid UTF-8',
    headers: JSON_TYPE,
    body: Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]),
    expect: 400,
  },
  {
    name: 'H23 a field of 10 MB',
    headers: JSON_TYPE,
    body: text({ ...JOB, metadata: { a: 'x'.repeat(10_000_000) } }),
    expect: 413,
  },
  {
    name: 'H23 a field of 100 KB',
    headers: JSON_TYPE,
    body: text({ ...JOB, metadata: { a: 'x'.repeat(100_000) } }),
    expect: 400,
    pointer: '/metadata/a',
  },
  { name: 'H24 id ../x', method: 'GET', url: '/v1/jobs/..%2fx', expect: 404 },
  { name: 'H24 id with %00', method: 'GET', url: '/v1/jobs/job_%00aaaaaaaaaaaaaaaaaa', expect: [400, 404] },
  { name: 'H24 id with %zz', method: 'GET', url: '/v1/jobs/%zz', expect: [400, 404] },
  { name: 'H24 id of 10,000 characters', method: 'GET', url: `/v1/jobs/job_${'a'.repeat(10_000)}`, expect: 404 },
  {
    name: 'H24 artifact ../../etc/passwd',
    method: 'GET',
    url: '/v1/jobs/job_0123456789abcdef/artifacts/..%2f..%2fetc%2fpasswd',
    expect: 404,
  },
  {
    name: 'H25 limit=-1',
    method: 'GET',
    url: '/v1/jobs?limit=-1',
    expect: 400,
    code: 'QUERY_INVALID',
    pointer: '/limit',
  },
  { name: 'H25 limit=0', method: 'GET', url: '/v1/models?limit=0', expect: 400, pointer: '/limit' },
  { name: 'H25 limit=1e9', method: 'GET', url: '/v1/jobs?limit=1e9', expect: 400 },
  { name: 'H25 limit=1000000000', method: 'GET', url: '/v1/datasets?limit=1000000000', expect: 400 },
  { name: 'H25 limit=0x10', method: 'GET', url: '/v1/jobs?limit=0x10', expect: 400 },
  { name: 'H25 limit twice', method: 'GET', url: '/v1/jobs?limit=1&limit=2', expect: 400 },
  { name: 'H25 forged cursor', method: 'GET', url: '/v1/models?cursor=../../x', expect: 400, pointer: '/cursor' },
  { name: 'H25 cursor of another list', method: 'GET', url: '/v1/models?cursor=abc', expect: 400, pointer: '/cursor' },
  {
    name: 'H26 key of 256 characters',
    headers: { ...JSON_TYPE, 'idempotency-key': 'k'.repeat(256) },
    body: text(JOB),
    expect: 400,
    code: 'IDEMPOTENCY_KEY_INVALID',
  },
  {
    name: 'H26 empty key',
    headers: { ...JSON_TYPE, 'idempotency-key': '' },
    body: text(JOB),
    expect: 400,
    code: 'IDEMPOTENCY_KEY_INVALID',
  },
  {
    name: 'H26 key with a space',
    headers: { ...JSON_TYPE, 'idempotency-key': 'a b' },
    body: text(JOB),
    expect: 400,
    code: 'IDEMPOTENCY_KEY_INVALID',
  },
  { name: 'status that does not exist', method: 'GET', url: '/v1/jobs?status=done', expect: 400, pointer: '/status' },
  {
    name: 'bad Last-Event-ID',
    method: 'GET',
    url: '/v1/jobs/job_0123456789abcdef/events',
    headers: { 'last-event-id': '-1' },
    expect: 400,
  },
  {
    name: 'a data set name with control characters',
    url: '/v1/datasets?name=a%07',
    headers: { 'content-type': 'application/octet-stream' },
    body: 'x',
    expect: 400,
    pointer: '/name',
  },
  {
    name: 'multipart without a boundary',
    url: '/v1/models',
    headers: { 'content-type': 'multipart/form-data' },
    body: 'x',
    expect: 415,
  },
  {
    name: 'multipart that is none',
    url: '/v1/models',
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
    body: 'garbage',
    expect: 400,
  },
  {
    name: 'a source outside of the allowed buckets',
    url: '/v1/models',
    headers: JSON_TYPE,
    body: text({ source: 's3://secret/key' }),
    expect: 400,
    code: 'SOURCE_DENIED',
  },
  {
    name: 'S3 source with ..',
    url: '/v1/models',
    headers: JSON_TYPE,
    body: text({ source: 's3://bucket/../key' }),
    expect: 400,
    pointer: '/source',
  },
  {
    name: 'S3 source with a version trick',
    url: '/v1/models',
    headers: JSON_TYPE,
    body: text({ source: 's3://bucket/key?versionId=1' }),
    expect: 400,
    pointer: '/source',
  },
  {
    name: 'a source that is a web address',
    url: '/v1/models',
    headers: JSON_TYPE,
    body: text({ source: 'http://169.254.169.254/x' }),
    expect: 400,
    pointer: '/source',
  },
];

const BANNED = /\bat .*\.(ts|js):\d|node_modules|\/work\/|\/home\/|SELECT |stack/i;

describe('hostile HTTP', () => {
  let test: TestApp;
  before(async () => {
    test = await startApp();
  });
  after(() => test.close());

  for (const { name, url = '/v1/jobs', method = 'POST', headers = {}, body, expect, code, pointer } of CASES) {
    it(`${name}: ${String(expect)}`, async () => {
      const response = await test.app.inject({
        method: method as 'POST',
        url,
        headers,
        ...(body === undefined ? {} : { payload: body }),
      });
      assert.ok([expect].flat().includes(response.statusCode), `${response.statusCode} ${response.body}`);
      assert.equal(response.headers['content-type'], 'application/problem+json');
      assert.doesNotMatch(response.body, BANNED);
      const problem = response.json<{ code: string; status: number; errors?: { pointer: string }[] }>();
      assert.equal(problem.status, response.statusCode);
      if (code !== undefined) assert.equal(problem.code, code);
      if (pointer !== undefined)
        assert.ok(
          problem.errors?.some((place) => place.pointer === pointer),
          `no ${pointer} in ${response.body}`,
        );
      if (response.statusCode === 405) assert.match(String(response.headers.allow), /POST/);
    });
  }

  it('sends the security headers, and says nothing of what it runs on', async () => {
    const { headers } = await test.app.inject({ url: '/' });
    assert.equal(headers['x-powered-by'], undefined);
    assert.equal(headers.server, undefined);
    assert.equal(headers['access-control-allow-origin'], undefined);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.match(String(headers['content-security-policy']), /default-src 'none'/);
  });

  it('serves the API page under the same policy, with nothing from other hosts', async () => {
    const page = await test.app.inject({ url: '/docs' });
    assert.equal(page.statusCode, 200);
    assert.match(String(page.headers['content-security-policy']), /default-src 'none'/);
    assert.doesNotMatch(page.body, /(src|href)="https?:/);
    assert.doesNotMatch(page.body, /<script>/);
  });

  it('H13 ignores X-Forwarded-For and X-Forwarded-Host', async () => {
    const response = await test.app.inject({
      url: '/v1/jobs',
      headers: { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-host': 'evil.example' },
    });
    assert.equal(response.statusCode, 200);
  });

  it('refuses a request for another host while there are no keys (DNS rebinding)', async () => {
    const response = await test.app.inject({ url: '/v1/jobs', headers: { host: 'evil.example' } });
    assert.equal(response.statusCode, 403);
  });

  it('still answers after all of that', async () => {
    assert.equal((await test.app.inject({ url: '/readyz' })).statusCode, 200);
  });
});
