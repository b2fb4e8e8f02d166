import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { newJob } from '../helpers/jobs.ts';
import { keyHash, startApp, type TestApp } from '../helpers/http-app.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  // The tests look at single fields; a wrong one shows as undefined.
  readonly body: Readonly<Record<string, unknown>>;
}

describe('webhook endpoints', () => {
  let http: TestApp;
  const keys = ['acme:write', 'acme:read', 'other:write', 'full:write'];

  before(async () => {
    const entries = keys.map((key) => `${key.split(':')[0]}:${keyHash(key)}${key.endsWith('read') ? ':read' : ''}`);
    http = await startApp({ API_KEYS: entries.join(',') });
  });
  after(() => http.close());

  async function call(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object, key = 'acme:write') {
    const response = await http.app.inject({
      method,
      url: `/v1/${path}`,
      headers: { authorization: `Bearer ${key}` },
      ...(body === undefined ? {} : { payload: body }),
    });
    const answer: Answer = {
      status: response.statusCode,
      headers: response.headers,
      body: response.body === '' ? {} : response.json<Record<string, unknown>>(),
    };
    return answer;
  }

  const create = (body: object = {}, key?: string) =>
    call('POST', 'webhook-endpoints', { url: 'https://example.com/hooks', ...body }, key);

  it('are made with a secret that is shown once', async () => {
    const made = await create({ events: ['job.failed'], description: 'pager' });
    assert.equal(made.status, 201);
    assert.equal(made.headers['location'], `/v1/webhook-endpoints/${String(made.body['id'])}`);
    assert.equal(made.headers['cache-control'], 'no-store');
    const { secret, ...rest } = made.body;
    assert.match(String(secret), /^whsec_/);
    const { createdAt, updatedAt, id, ...fields } = rest;
    assert.ok(createdAt === updatedAt && String(id).startsWith('whe_'));
    assert.deepEqual(fields, {
      url: 'https://example.com/hooks',
      events: ['job.failed'],
      description: 'pager',
      enabled: true,
      disabledReason: null,
      failingSince: null,
      previousSecretValidUntil: null,
    });
    assert.deepEqual((await call('GET', `webhook-endpoints/${String(id)}`)).body, rest);
    const list = await call('GET', 'webhook-endpoints');
    assert.ok(!JSON.stringify(list.body).includes('whsec_'));
  });

  it('are changed, get a new secret, and are removed', async () => {
    const made = await create();
    const path = `webhook-endpoints/${String(made.body['id'])}`;
    const changed = await call('PATCH', path, { url: 'https://example.org/', events: ['job.step'], enabled: false });
    assert.equal(changed.status, 200);
    assert.deepEqual(
      [changed.body['url'], changed.body['events'], changed.body['enabled'], changed.body['disabledReason']],
      ['https://example.org/', ['job.step'], false, 'manual'],
    );
    assert.equal('secret' in changed.body, false);
    const again = await call('PATCH', path, { events: null, enabled: true, rotateSecret: true });
    assert.deepEqual([again.body['events'], again.body['enabled'], again.body['disabledReason']], [null, true, null]);
    assert.match(String(again.body['secret']), /^whsec_/);
    assert.notEqual(again.body['secret'], made.body['secret']);
    const validMs = Date.parse(String(again.body['previousSecretValidUntil'])) - Date.now();
    assert.ok(Math.abs(validMs - 24 * 3600 * 1000) < 60_000);
    assert.equal((await call('DELETE', path)).status, 204);
    assert.equal((await call('GET', path)).status, 404);
    assert.equal((await call('DELETE', path)).status, 404);
    assert.equal((await call('PATCH', path, { enabled: true })).status, 404);
  });

  it('refuse bad bodies with pointers', async () => {
    const made = await create();
    const path = `webhook-endpoints/${String(made.body['id'])}`;
    for (const [body, code, pointer] of [
      [{ url: 'http://example.com/' }, 'WEBHOOK_URL_REFUSED', '/url'],
      [{ url: 'https://169.254.169.254/' }, 'WEBHOOK_URL_REFUSED', '/url'],
      [{ url: 'https://localhost/' }, 'WEBHOOK_URL_REFUSED', '/url'],
      [{ url: 'https://a:b@example.com/' }, 'WEBHOOK_URL_REFUSED', '/url'],
      [{ url: 5 }, 'BODY_INVALID', '/url'],
      [{ url: `https://example.com/${'a'.repeat(10_000)}` }, 'BODY_INVALID', '/url'],
      [{ url: 'https://example.com/\r\nx: y' }, 'BODY_INVALID', '/url'],
      [{ events: [] }, 'BODY_INVALID', '/events'],
      [{ events: ['job.exploded'] }, 'BODY_INVALID', '/events/0'],
      [{ description: 'x'.repeat(257) }, 'BODY_INVALID', '/description'],
      [{ secret: 'whsec_mine' }, 'BODY_INVALID', '/secret'],
    ] as const) {
      for (const answer of [await create(body), await call('PATCH', path, body)]) {
        assert.equal(answer.status, 400, JSON.stringify(body).slice(0, 100));
        assert.equal(answer.body['code'], code);
        assert.deepEqual(
          (answer.body['errors'] as { pointer: string }[]).map((place) => place.pointer),
          [pointer],
        );
      }
    }
    assert.equal((await call('PATCH', path, { rotateSecret: false })).status, 400);
    assert.equal((await call('POST', 'webhook-endpoints', {})).status, 400);
  });

  it("show another tenant's endpoints to nobody", async () => {
    const made = await create();
    const path = `webhook-endpoints/${String(made.body['id'])}`;
    const test = await call('POST', `${path}/test`);
    assert.equal(test.status, 202);
    const redeliver = `${path}/deliveries/${String(test.body['id'])}/redeliver`;
    for (const [method, url, body] of [
      ['GET', path],
      ['PATCH', path, { enabled: false }],
      ['DELETE', path],
      ['GET', `${path}/deliveries`],
      ['POST', redeliver],
      ['POST', `${path}/test`],
    ] as const)
      assert.equal((await call(method, url, body, 'other:write')).status, 404, `${method} ${url}`);
    assert.deepEqual((await call('GET', 'webhook-endpoints', undefined, 'other:write')).body['items'], []);
    assert.equal((await call('POST', redeliver)).status, 202);
  });

  it('are for keys that may write; those that read see no secrets', async () => {
    assert.equal((await create({}, 'acme:read')).status, 403);
    assert.equal((await call('GET', 'webhook-endpoints', undefined, 'acme:read')).status, 200);
    assert.equal((await call('GET', 'webhook-secret', undefined, 'acme:read')).status, 403);
    assert.equal((await call('POST', 'webhook-secret/rotate', undefined, 'acme:read')).status, 403);
  });

  it("give each tenant a secret for its jobs' webhooks, with rotation", async () => {
    const first = await call('GET', 'webhook-secret');
    assert.match(String(first.body['secret']), /^whsec_/);
    assert.equal(first.body['previousSecretValidUntil'], null);
    assert.equal(first.headers['cache-control'], 'no-store');
    assert.deepEqual((await call('GET', 'webhook-secret')).body, first.body);
    const other = await call('GET', 'webhook-secret', undefined, 'other:write');
    assert.notEqual(other.body['secret'], first.body['secret']);
    const rotated = await call('POST', 'webhook-secret/rotate');
    assert.notEqual(rotated.body['secret'], first.body['secret']);
    assert.ok(Date.parse(String(rotated.body['previousSecretValidUntil'])) > Date.now());
    assert.deepEqual((await call('GET', 'webhook-secret')).body, rotated.body);
  });

  it('list deliveries page by page, newest first', async () => {
    const made = await create();
    const path = `webhook-endpoints/${String(made.body['id'])}`;
    const ids: unknown[] = [];
    for (let n = 0; n < 5; n++) {
      ids.unshift((await call('POST', `${path}/test`)).body['id']);
      await new Promise((done) => setTimeout(done, 2)); // ids are newest first by the millisecond
    }
    const seen: unknown[] = [];
    let cursor = '';
    for (let pages = 0; pages < 3; pages++) {
      const { body } = await call('GET', `${path}/deliveries?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`);
      seen.push(...(body['items'] as { id: string }[]).map(({ id }) => id));
      cursor = typeof body['nextCursor'] === 'string' ? body['nextCursor'] : '';
    }
    assert.deepEqual(seen, ids);
    assert.equal(cursor, '');
    assert.equal((await call('GET', `${path}/deliveries?cursor=nonsense`)).status, 400);
    assert.equal((await call('GET', 'webhook-endpoints?cursor=nonsense')).status, 400);
    await call('PATCH', path, { enabled: false });
    assert.equal((await call('POST', `${path}/test`)).status, 409);
  });

  it("log the webhook of a job under the job, and refuse its URL as an endpoint's", async () => {
    const webhook = { url: 'https://example.com/job' };
    const { record } = await http.jobs.service.submit(newJob({ webhook }));
    await http.jobs.service.cancel('acme', record.id);
    const { body } = await call('GET', `jobs/${record.id}/webhook-deliveries`);
    const [delivery] = body['items'] as Readonly<Record<string, unknown>>[];
    assert.deepEqual(
      [delivery?.['type'], delivery?.['job'], delivery?.['endpoint']],
      ['job.canceled', record.id, null],
    );
    assert.equal((await call('GET', `jobs/${record.id}/webhook-deliveries`, undefined, 'other:write')).status, 404);
    const job = { model: 'mdl_0123456789abcdef', recipe: 'int8-dynamic', webhook: { url: 'https://10.0.0.1/' } };
    const refused = await call('POST', 'jobs', job);
    assert.equal(refused.status, 400);
    assert.equal(refused.body['code'], 'WEBHOOK_URL_REFUSED');
    assert.deepEqual(
      (refused.body['errors'] as { pointer: string }[]).map(({ pointer }) => pointer),
      ['/webhook/url'],
    );
  });

  it('W22 are at most a hundred for a tenant, also when many are made at once', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => create({}, 'full:write')));
    assert.ok(made.every(({ status }) => status === 201));
    for (let n = 20; n < 96; n++) assert.equal((await create({}, 'full:write')).status, 201);
    const last = await Promise.all(Array.from({ length: 10 }, () => create({}, 'full:write')));
    assert.deepEqual(last.map(({ status }) => status).sort(), [
      ...Array<number>(4).fill(201),
      ...Array<number>(6).fill(400),
    ]);
    assert.equal(last.find(({ status }) => status === 400)?.body['code'], 'WEBHOOK_LIMIT');
    const seen = new Set<unknown>();
    let cursor = '';
    do {
      const query = cursor === '' ? '' : `&cursor=${cursor}`;
      const { body } = await call('GET', `webhook-endpoints?limit=30${query}`, undefined, 'full:write');
      for (const { id } of body['items'] as { id: string }[]) seen.add(id);
      cursor = typeof body['nextCursor'] === 'string' ? body['nextCursor'] : '';
    } while (cursor !== '');
    assert.equal(seen.size, 100);
  });
});
