import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Job } from '../../src/schemas/job.ts';
import type { DryRun } from '../../src/schemas/plan.ts';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { finishJob } from '../helpers/finished-job.ts';
import { addModel } from '../helpers/onnx-bytes.ts';

describe('/v1/jobs', () => {
  let test: TestApp;
  let model: string;
  const post = (payload: object, headers: Record<string, string> = {}, query = '') =>
    test.app.inject({ method: 'POST', url: `/v1/jobs${query}`, payload, headers });
  const job = (changes: object = {}) => ({ model, recipe: 'int8-dynamic', ...changes });
  before(async () => {
    test = await startApp();
    const headers = { 'content-type': 'application/octet-stream' };
    const upload = await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload: addModel() });
    model = upload.json<{ id: string }>().id;
  });
  after(() => test.close());

  it('answers 202 with Location and the job, defaults filled', async () => {
    const response = await post(job({ metadata: { run: '7' } }));
    assert.equal(response.statusCode, 202, response.body);
    const created = response.json<Job>();
    assert.equal(response.headers.location, `/v1/jobs/${created.id}`);
    assert.equal(created.status, 'queued');
    assert.equal(created.recipe.version, 1);
    assert.equal(created.recipe.steps[0]?.pass, 'quantize.dynamic');
    assert.equal(created.recipe.steps[0]['perChannel'], true);
    assert.equal(created.seed, 0);
    assert.deepEqual(created.metadata, { run: '7' });
    assert.equal(created.links['self'], `/v1/jobs/${created.id}`);
    const again = await test.app.inject({ url: `/v1/jobs/${created.id}` });
    assert.equal(again.json<Job>().id, created.id);
    // The machinery's own fields stay inside.
    for (const name of ['tenant', 'workerId', 'inputs', 'crashes'])
      assert.ok(!Object.hasOwn(again.json<object>(), name));
  });

  it('dry run: plan with defaults and implicit steps, estimate with its basis, nothing stored', async () => {
    const before = (await test.app.inject({ url: '/v1/jobs' })).json<{ items: Job[] }>().items.length;
    const response = await post(job(), {}, '?dryRun=true');
    assert.equal(response.statusCode, 200, response.body);
    const { plan, estimate } = response.json<DryRun>();
    assert.deepEqual(
      plan.map((step) => [step.pass, step.implicit]),
      [
        ['canonicalize', true],
        ['quantize.dynamic', false],
      ],
    );
    assert.equal(plan[1]?.options['perChannel'], true);
    assert.ok(estimate.outputBytes > 0 && estimate.outputBytes <= addModel().length);
    assert.match(estimate.basis.outputBytes, /parameters/);
    assert.equal((await test.app.inject({ url: '/v1/jobs' })).json<{ items: Job[] }>().items.length, before);
  });

  it('dry run refuses what the real one refuses', async () => {
    assert.equal((await post(job({ recipe: 'nope' }), {}, '?dryRun=true')).statusCode, 400);
    assert.equal((await post(job(), {}, '?dryRun=1')).statusCode, 400);
  });

  it('Idempotency-Key: same body same job, other body 422, spelled differently is the same body', async () => {
    const headers = { 'idempotency-key': 'order-1' };
    const first = await post(job({ seed: 1 }), headers);
    const second = await post({ seed: 1, recipe: 'int8-dynamic', model }, headers);
    assert.equal(first.statusCode, 202);
    assert.equal(second.statusCode, 202);
    assert.equal(second.json<Job>().id, first.json<Job>().id);
    assert.equal(first.headers['idempotent-replayed'], undefined);
    assert.equal(second.headers['idempotent-replayed'], 'true');
    const other = await post(job({ seed: 2 }), headers);
    assert.equal(other.statusCode, 422);
    assert.equal(other.json<{ code: string }>().code, 'IDEMPOTENCY_KEY_REUSED');
  });

  it('H27 fifty requests at once with one key make one job', async () => {
    const headers = { 'idempotency-key': 'storm' };
    const answers = await Promise.all(Array.from({ length: 50 }, () => post(job({ seed: 3 }), headers)));
    const ids = new Set(answers.filter(({ statusCode }) => statusCode === 202).map((answer) => answer.json<Job>().id));
    assert.equal(ids.size, 1);
    assert.ok(answers.every(({ statusCode }) => statusCode === 202 || statusCode === 409));
  });

  it('lists newest first, by status and model, in pages', async () => {
    const all = (await test.app.inject({ url: '/v1/jobs?limit=100' })).json<{ items: Job[] }>().items;
    const times = all.map((item) => item.createdAt);
    assert.deepEqual(times, [...times].sort().reverse());
    const first = (await test.app.inject({ url: '/v1/jobs?limit=1' })).json<{ items: Job[]; nextCursor: string }>();
    assert.equal(first.items[0]?.id, all[0]?.id);
    const next = await test.app.inject({ url: `/v1/jobs?limit=1&cursor=${first.nextCursor}` });
    assert.equal(next.json<{ items: Job[] }>().items[0]?.id, all[1]?.id);
    const none = await test.app.inject({ url: '/v1/jobs?status=failed' });
    assert.deepEqual(none.json(), { items: [], nextCursor: null });
    const ofModel = await test.app.inject({ url: `/v1/jobs?model=${model}&limit=100` });
    assert.equal(ofModel.json<{ items: Job[] }>().items.length, all.length);
  });

  it('cancels a queued job at once; delete needs a job that is over', async () => {
    const { id } = (await post(job())).json<Job>();
    const early = await test.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` });
    assert.equal(early.statusCode, 409);
    assert.equal(early.json<{ code: string }>().code, 'CONFLICT');
    const canceled = await test.app.inject({ method: 'POST', url: `/v1/jobs/${id}/cancel` });
    assert.equal(canceled.statusCode, 202);
    assert.equal(canceled.json<Job>().status, 'canceled');
    // Again: unchanged, not an error.
    assert.equal((await test.app.inject({ method: 'POST', url: `/v1/jobs/${id}/cancel` })).statusCode, 202);
    assert.equal((await test.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` })).statusCode, 204);
    assert.equal((await test.app.inject({ url: `/v1/jobs/${id}` })).statusCode, 404);
  });

  describe('of a job that succeeded', () => {
    const onnx = Buffer.from('the artifact 0123456789');
    const report = Buffer.from('{"version":1}');
    const page = Buffer.from('<!doctype html><title>Report</title>');
    let id: string;
    const get = (path: string, headers: Record<string, string> = {}) =>
      test.app.inject({ url: `/v1/jobs/${id}${path}`, headers });
    before(async () => {
      id = (await post(job({ seed: 9 }))).json<Job>().id;
      await finishJob(
        test,
        id,
        [
          { name: 'model.onnx', kind: 'model', contentType: 'application/octet-stream' },
          { name: 'report.json', kind: 'report-json', contentType: 'application/json' },
          { name: 'report.html', kind: 'report-html', contentType: 'text/html; charset=utf-8' },
        ],
        { 'model.onnx': onnx, 'report.json': report, 'report.html': page },
      );
    });

    it('shows its end and its summary', async () => {
      const done = (await get('')).json<Job>();
      assert.equal(done.status, 'succeeded');
      assert.equal(done.verdict, 'none');
      assert.deepEqual(done.summary?.bytes, { before: 100, after: 30 });
      assert.notEqual(done.finishedAt, null);
    });

    it('lists artifacts and gives their bytes', async () => {
      const { items } = (await get('/artifacts')).json<{ items: { name: string; url: string; bytes: number }[] }>();
      assert.deepEqual(
        items.map(({ name }) => name),
        ['model.onnx', 'report.json', 'report.html'],
      );
      const download = await test.app.inject({ url: items[0]?.url ?? '' });
      assert.deepEqual(download.rawPayload, onnx);
      assert.equal(download.headers['content-length'], String(onnx.length));
      assert.equal(download.headers['content-disposition'], 'attachment; filename="model.onnx"');
      assert.equal((await get('/artifacts/none.onnx')).statusCode, 404);
      assert.equal((await get('/artifacts/manifest.json')).statusCode, 404);
      assert.equal((await get('/artifacts/log.jsonl')).statusCode, 404);
    });

    const ranges: readonly (readonly [range: string, status: number, body: string])[] = [
      ['bytes=0-2', 206, 'the'],
      ['bytes=13-', 206, '0123456789'],
      ['bytes=-3', 206, '789'],
      ['bytes=20-999', 206, '789'],
      ['bytes=0-0', 206, 't'],
      ['bytes=5-2', 200, onnx.toString()],
      ['bytes=0-1,3-4', 200, onnx.toString()],
      ['items=0-1', 200, onnx.toString()],
      ['bytes=a-b', 200, onnx.toString()],
      ['bytes=23-', 416, ''],
      ['bytes=-0', 416, ''],
      ['bytes=999999999999999-', 416, ''],
    ];
    for (const [range, status, body] of ranges)
      it(`Range: ${range} gives ${status}`, async () => {
        const response = await get('/artifacts/model.onnx', { range });
        assert.equal(response.statusCode, status);
        if (status === 416) assert.equal(response.json<{ code: string }>().code, 'RANGE_NOT_SATISFIABLE');
        else assert.equal(response.body, body);
      });

    it('honours If-Range and If-None-Match', async () => {
      const etag = String((await get('/artifacts/model.onnx')).headers.etag);
      assert.equal((await get('/artifacts/model.onnx', { range: 'bytes=0-2', 'if-range': etag })).statusCode, 206);
      assert.equal((await get('/artifacts/model.onnx', { range: 'bytes=0-2', 'if-range': '"old"' })).statusCode, 200);
      assert.equal((await get('/artifacts/model.onnx', { 'if-none-match': etag })).statusCode, 304);
    });

    it('HEAD tells the size without the bytes', async () => {
      const head = await test.app.inject({ method: 'HEAD', url: `/v1/jobs/${id}/artifacts/model.onnx` });
      assert.equal(head.statusCode, 200);
      assert.equal(head.headers['content-length'], String(onnx.length));
      assert.equal(head.body, '');
    });

    it('redirects only where the store has presigned URLs; a file store sends the bytes', async () => {
      assert.equal((await get('/artifacts/model.onnx?redirect=true')).body, onnx.toString());
    });

    const formats: readonly (readonly [query: string, accept: string | undefined, body: Buffer | number])[] = [
      ['', undefined, report],
      ['', 'application/json', report],
      ['', '*/*', report],
      ['', 'text/html,application/xhtml+xml,*/*;q=0.8', page],
      ['?format=html', 'application/json', page],
      ['?format=json', 'text/html', report],
      ['', 'image/png', 406],
      ['?format=pdf', undefined, 400],
    ];
    for (const [query, accept, expected] of formats)
      it(`report${query} for Accept ${accept ?? '(none)'}`, async () => {
        const response = await get(`/report${query}`, accept === undefined ? {} : { accept });
        if (typeof expected === 'number') assert.equal(response.statusCode, expected);
        else assert.deepEqual(response.rawPayload, expected);
      });

    it('shows the report page inline, and lets it load nothing', async () => {
      const { headers } = await get('/report?format=html');
      assert.equal(headers['content-disposition'], 'inline');
      assert.match(String(headers['content-security-policy']), /default-src 'none'/);
    });

    it('gives the log as JSON lines', async () => {
      const response = await get('/logs');
      assert.match(String(response.headers['content-type']), /ndjson/);
      assert.equal(response.body, '{"level":"info","message":"done"}\n');
    });
  });

  it('redirects to a presigned URL where the store has such, only when asked', async () => {
    const own = await startApp({}, (deps) => {
      deps.store.presign = (key, { fileName }) =>
        Promise.resolve(`https://s3.example/${key}?name=${fileName ?? ''}&X=1`);
      return deps;
    });
    try {
      const headers = { 'content-type': 'application/octet-stream' };
      const upload = await own.app.inject({ method: 'POST', url: '/v1/models', headers, payload: addModel() });
      const payload = { model: upload.json<{ id: string }>().id, recipe: 'int8-dynamic' };
      const { id } = (await own.app.inject({ method: 'POST', url: '/v1/jobs', payload })).json<Job>();
      await finishJob(own, id, [{ name: 'm.onnx', kind: 'model', contentType: 'application/octet-stream' }], {
        'm.onnx': Buffer.from('x'),
      });
      const url = `/v1/jobs/${id}/artifacts/m.onnx`;
      const moved = await own.app.inject({ url: `${url}?redirect=true` });
      assert.equal(moved.statusCode, 302);
      assert.match(String(moved.headers.location), /^https:\/\/s3\.example\/.*\/attempts\/1\/m\.onnx\?name=m\.onnx/);
      assert.equal((await own.app.inject({ url })).body, 'x');
    } finally {
      await own.close();
    }
  });

  it('says NOT_READY while the job is at work, and CONFLICT when it ended without results', async () => {
    const { id } = (await post(job({ seed: 10 }))).json<Job>();
    for (const path of ['report', 'artifacts', 'artifacts/model.onnx']) {
      const response = await test.app.inject({ url: `/v1/jobs/${id}/${path}` });
      assert.equal(response.statusCode, 409);
      assert.equal(response.json<{ code: string }>().code, 'NOT_READY');
    }
    await test.app.inject({ method: 'POST', url: `/v1/jobs/${id}/cancel` });
    const response = await test.app.inject({ url: `/v1/jobs/${id}/report` });
    assert.equal(response.statusCode, 409);
    assert.equal(response.json<{ code: string }>().code, 'CONFLICT');
  });
});
