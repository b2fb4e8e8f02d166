import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { attemptPrefix } from '../../src/jobs/job-keys.ts';
import { JobId } from '../../src/schemas/common.ts';
import { hasCode } from '../contract/object-store.ts';
import { newJob, openJobs, RESULT } from '../helpers/jobs.ts';

type Fixture = Awaited<ReturnType<typeof openJobs>>;

describe('JobService', () => {
  let jobs: Fixture;
  let tenants = 0;
  const freshTenant = () => `t${tenants++}`;
  before(async () => {
    jobs = await openJobs();
  });
  after(() => jobs.stop());

  const claim = async (jobId: string) => {
    const attempt = await jobs.claims.claim(jobId, 'worker');
    assert.ok(attempt);
    return attempt;
  };

  it('stores a queued job and gives it a place in the queue', async () => {
    const { record, replayed } = await jobs.service.submit(newJob({ tenant: 'acme' }));
    assert.equal(replayed, false);
    assert.ok(JobId.safeParse(record.id).success, record.id);
    assert.equal(record.status, 'queued');
    assert.deepEqual(await jobs.service.get('acme', record.id), record);
    assert.equal(await jobs.service.position(record.id), 0);
    assert.deepEqual(await jobs.service.activeIds('acme', 10), [record.id]);
    assert.equal(await jobs.service.manifest('acme', record.id), undefined);
  });

  it('hides the jobs of another tenant', async () => {
    const { record } = await jobs.service.submit(newJob({ tenant: freshTenant() }));
    const other = freshTenant();
    assert.equal(await jobs.service.get(other, record.id), undefined);
    assert.deepEqual((await jobs.service.list(other, { limit: 10 })).items, []);
    assert.deepEqual(await jobs.service.activeIds(other, 10), []);
    await assert.rejects(jobs.service.cancel(other, record.id), hasCode('NOT_FOUND'));
    await assert.rejects(jobs.service.remove(other, record.id), hasCode('NOT_FOUND'));
    await assert.rejects(jobs.service.events(other, record.id, 0), hasCode('NOT_FOUND'));
    await assert.rejects(jobs.service.manifest(other, record.id), hasCode('NOT_FOUND'));
  });

  it('answers nothing for ids that are none', async () => {
    for (const id of ['', '..', '../../x', 'job_x', 'job_0123456789ABCDEF', 'a'.repeat(5000)]) {
      assert.equal(await jobs.service.get('acme', id), undefined);
      await assert.rejects(jobs.service.cancel('acme', id), hasCode('NOT_FOUND'));
      assert.equal(await jobs.claims.claim(id, 'worker'), undefined);
    }
    await assert.rejects(jobs.service.submit(newJob({ tenant: '../x' })), hasCode('CONFIG_INVALID'));
  });

  it('runs a job to its end: record, events, manifest', async () => {
    const { record } = await jobs.service.submit(newJob());
    const attempt = await claim(record.id);
    assert.equal(attempt.number, 1);
    assert.equal(attempt.prefix, attemptPrefix('acme', record.id, 1));
    assert.equal(attempt.record.status, 'running');
    assert.equal(
      Date.parse(attempt.record.deadlineAt ?? '') - Date.parse(attempt.record.startedAt ?? ''),
      record.deadlineSeconds * 1000,
    );
    assert.equal(await attempt.heartbeat({ step: 0, progress: 0.5 }), 'continue');
    assert.equal((await jobs.service.get('acme', record.id))?.progress, 0.5);
    await attempt.event('job.step', { step: 0 });
    await attempt.pinCostTable('first');
    await attempt.pinCostTable('second');
    assert.equal(await attempt.checkpoint({ key: `${attempt.prefix}c`, steps: 1, sha256: 'c'.repeat(64) }), 'continue');
    assert.equal(await attempt.succeed(RESULT), 'published');
    const done = await jobs.service.get('acme', record.id);
    assert.equal(done?.status, 'succeeded');
    assert.equal(done.progress, 1);
    assert.equal(done.costTable, 'first');
    assert.equal(done.checkpoint?.steps, 1);
    assert.deepEqual(done.summary, RESULT.summary);
    assert.equal(done.verdict, 'none');
    assert.ok(done.finishedAt !== null && done.error === null);
    const events = await jobs.service.events('acme', record.id, 0);
    assert.deepEqual(
      events.map((event) => [event.id, event.type]),
      [
        [1, 'job.queued'],
        [2, 'job.running'],
        [3, 'job.step'],
        [4, 'job.succeeded'],
      ],
    );
    assert.deepEqual(await jobs.service.events('acme', record.id, 2), events.slice(2));
    assert.deepEqual(await jobs.service.events('acme', record.id, 4), []);
    const manifest = await jobs.service.manifest('acme', record.id);
    assert.deepEqual(manifest?.artifacts, RESULT.artifacts);
    assert.equal(manifest.attempt, 1);
    assert.ok(!(await jobs.service.activeIds('acme', 100)).includes(record.id));
  });

  it('tells of an event how far the job is by then, and a job that is handed back says so', async () => {
    const told: [string, number | null, number][] = [];
    const telling = jobs.make({
      onEvent: ({ step, progress }, { type }) => {
        told.push([type, step, progress]);
        return Promise.resolve();
      },
    });
    const { record } = await telling.service.submit(newJob());
    const attempt = await telling.claims.claim(record.id, 'worker');
    await attempt?.event('job.progress', {}, { step: 0, progress: 0.25 });
    assert.equal(
      (await jobs.service.get('acme', record.id))?.progress,
      0,
      'the record follows with the next heartbeat',
    );
    await attempt?.release({ crashed: false, message: 'shutdown', reached: { step: 1, progress: 0.5 } });
    const { step, progress, status } = (await jobs.service.get('acme', record.id)) ?? {};
    assert.deepEqual([status, step, progress], ['queued', 1, 0.5]);
    const again = await telling.claims.claim(record.id, 'worker');
    await again?.release({ crashed: true, message: 'SIGSEGV', reached: { step: 2, progress: 0.5 } });
    const last = await telling.claims.claim(record.id, 'worker');
    await last?.release({ crashed: true, message: 'SIGSEGV', reached: { step: 2, progress: 0.5 } });
    const { error } = (await jobs.service.get('acme', record.id)) ?? {};
    assert.deepEqual([error?.code, error?.step], ['CRASH_LOOP', 2]);
    assert.deepEqual(
      told.filter(([type]) => type === 'job.progress'),
      [['job.progress', 0, 0.25]],
    );
  });

  it('knows nothing better than the end: every call after it is lost', async () => {
    const { record } = await jobs.service.submit(newJob());
    const attempt = await claim(record.id);
    const error = { code: 'MODEL_RUN', message: 'shape', step: 0, retryable: false };
    assert.equal(await attempt.fail(error), 'published');
    assert.equal(await attempt.succeed(RESULT), 'lost');
    assert.equal(await attempt.fail(error), 'lost');
    assert.equal(await attempt.canceled(), 'lost');
    assert.equal(await attempt.heartbeat({ step: 0, progress: 1 }), 'lost');
    await attempt.event('job.progress', {});
    await attempt.release({ crashed: true, message: 'x' });
    const done = await jobs.service.get('acme', record.id);
    assert.equal(done?.status, 'failed');
    assert.deepEqual(done.error, error);
    assert.deepEqual(await types(record.id), ['job.queued', 'job.running', 'job.failed']);
    assert.deepEqual(await jobs.service.cancel('acme', record.id), done);
  });

  const types = async (jobId: string) => (await jobs.service.events('acme', jobId, 0)).map((event) => event.type);

  it('cancels a queued job at once', async () => {
    const { record } = await jobs.service.submit(newJob());
    assert.equal((await jobs.service.cancel('acme', record.id)).status, 'canceled');
    assert.equal(await jobs.claims.claim(record.id, 'worker'), undefined);
    assert.equal(await jobs.service.position(record.id), null);
    assert.deepEqual(await types(record.id), ['job.queued', 'job.canceled']);
  });

  it('cancels a running job through its heartbeat', async () => {
    const { record } = await jobs.service.submit(newJob());
    const attempt = await claim(record.id);
    await assert.rejects(attempt.canceled(), hasCode('INTERNAL')); // nobody asked
    assert.equal((await jobs.service.cancel('acme', record.id)).status, 'canceling');
    assert.equal((await jobs.service.cancel('acme', record.id)).status, 'canceling');
    assert.equal(await attempt.heartbeat({ step: 0, progress: 0 }), 'cancel');
    assert.equal(await attempt.canceled(), 'published');
    assert.equal((await jobs.service.get('acme', record.id))?.status, 'canceled');
    assert.deepEqual(await types(record.id), ['job.queued', 'job.running', 'job.canceled']);
  });

  it('a result that comes after the cancel publishes nothing', async () => {
    const { record } = await jobs.service.submit(newJob());
    const attempt = await claim(record.id);
    await jobs.service.cancel('acme', record.id);
    assert.equal(await attempt.succeed(RESULT), 'lost');
    assert.equal((await jobs.service.get('acme', record.id))?.status, 'canceled');
    assert.equal(await jobs.service.manifest('acme', record.id), undefined);
  });

  it('cancel against completion: one terminal state, one terminal event, artifacts to match', async () => {
    const ends = new Set<string>();
    for (let round = 0; round < 20; round++) {
      const { record } = await jobs.service.submit(newJob());
      const attempt = await claim(record.id);
      await delay(round % 3);
      const [, outcome] = await Promise.all([jobs.service.cancel('acme', record.id), attempt.succeed(RESULT)]);
      const done = await jobs.service.get('acme', record.id);
      assert.ok(done !== undefined);
      ends.add(done.status);
      assert.equal(outcome === 'published', done.status === 'succeeded');
      assert.equal((await jobs.service.manifest('acme', record.id)) !== undefined, done.status === 'succeeded');
      assert.deepEqual(await types(record.id), ['job.queued', 'job.running', `job.${done.status}`]);
    }
    assert.ok([...ends].every((end) => end === 'succeeded' || end === 'canceled'));
  });

  it('lists newest first, page by page', async () => {
    const tenant = freshTenant();
    const ids: string[] = [];
    for (let n = 0; n < 7; n++) ids.unshift((await jobs.service.submit(newJob({ tenant }))).record.id);
    const seen: string[] = [];
    const pages: number[] = [];
    let cursor: string | null = null;
    do {
      const page = await jobs.service.list(tenant, { limit: 3, ...(cursor === null ? {} : { cursor }) });
      seen.push(...page.items.map((record) => record.id));
      pages.push(page.items.length);
      cursor = page.nextCursor;
    } while (cursor !== null);
    assert.deepEqual(seen, ids);
    assert.deepEqual(pages, [3, 3, 1]);
    assert.equal((await jobs.service.list(tenant, { limit: 7 })).nextCursor, null);
    await assert.rejects(jobs.service.list(tenant, { limit: 7, cursor: 'garbage' }), hasCode('QUERY_INVALID'));
  });

  it('lists by status and model', async () => {
    const tenant = freshTenant();
    const other = 'mdl_fedcba9876543210';
    const queued = (await jobs.service.submit(newJob({ tenant }))).record.id;
    const canceled = (await jobs.service.submit(newJob({ tenant }))).record.id;
    await jobs.service.cancel(tenant, canceled);
    const modeled = (await jobs.service.submit(newJob({ tenant, model: other }))).record.id;
    const ids = async (query: object) =>
      (await jobs.service.list(tenant, { limit: 10, ...query })).items.map((record) => record.id);
    assert.deepEqual(await ids({ status: 'queued' }), [modeled, queued]);
    assert.deepEqual(await ids({ status: 'canceled' }), [canceled]);
    assert.deepEqual(await ids({ model: other }), [modeled]);
    assert.deepEqual(await ids({ model: other, status: 'canceled' }), []);
    const first = await jobs.service.list(tenant, { limit: 1, status: 'queued' });
    assert.equal(first.nextCursor, modeled);
    const second = await jobs.service.list(tenant, { limit: 1, status: 'queued', cursor: modeled });
    assert.deepEqual(
      second.items.map((record) => record.id),
      [queued],
    );
  });

  it('removes a finished job with everything it made, not a live one', async () => {
    const tenant = freshTenant();
    const request = { key: 'k', bodySha256: 'x' };
    const { record } = await jobs.service.submit(newJob({ tenant }), request);
    await assert.rejects(jobs.service.remove(tenant, record.id), hasCode('CONFLICT'));
    const attempt = await claim(record.id);
    await jobs.store.put(`${attempt.prefix}model.onnx`, Buffer.from('abc'));
    await assert.rejects(jobs.service.remove(tenant, record.id), hasCode('CONFLICT'));
    await attempt.succeed(RESULT);
    await jobs.service.remove(tenant, record.id);
    assert.deepEqual(await jobs.store.list(`tenants/${tenant}/`), []);
    await assert.rejects(jobs.service.remove(tenant, record.id), hasCode('NOT_FOUND'));
    // The key is free again.
    const again = await jobs.service.submit(newJob({ tenant }), request);
    assert.equal(again.replayed, false);
    assert.notEqual(again.record.id, record.id);
  });

  it('wakes who waits for a change, at once, at the timeout, and on abort', async () => {
    const { record } = await jobs.service.submit(newJob());
    const start = performance.now();
    const changed = jobs.service.waitForChange(record.id, 5000);
    await jobs.service.cancel('acme', record.id);
    await changed;
    assert.ok(performance.now() - start < 1000);
    await jobs.service.waitForChange(record.id, 20);
    const abort = new AbortController();
    const aborted = jobs.service.waitForChange(record.id, 60_000, abort.signal);
    abort.abort();
    await aborted;
    await jobs.service.waitForChange(record.id, 60_000, abort.signal);
  });

  it('makes ids that sort newest first', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 50; n++) ids.push((await jobs.service.submit(newJob({ tenant: 'sorted' }))).record.id);
    assert.deepEqual([...ids].sort(), [...ids].reverse());
  });
});

describe('idempotent submit', () => {
  let jobs: Fixture;
  before(async () => {
    jobs = await openJobs();
  });
  after(() => jobs.stop());
  const request = (key: string, body = 'body') => ({ key, bodySha256: body });

  it('answers the same job again', async () => {
    const first = await jobs.service.submit(newJob(), request('a'));
    const second = await jobs.service.submit(newJob(), request('a'));
    assert.equal(first.replayed, false);
    assert.equal(second.replayed, true);
    assert.deepEqual(second.record, first.record);
  });

  it('keeps the keys of tenants apart', async () => {
    const first = await jobs.service.submit(newJob(), request('t'));
    const second = await jobs.service.submit(newJob({ tenant: 'other' }), request('t'));
    assert.notEqual(second.record.id, first.record.id);
  });

  it('refuses a key that came with another body', async () => {
    await jobs.service.submit(newJob(), request('b', 'one'));
    await assert.rejects(jobs.service.submit(newJob(), request('b', 'two')), hasCode('IDEMPOTENCY_KEY_REUSED'));
  });

  it('frees a key after 24 hours', async () => {
    const first = await jobs.service.submit(newJob(), request('c'));
    jobs.clock.pass(24 * 3600 * 1000 - 5000);
    assert.equal((await jobs.service.submit(newJob(), request('c'))).replayed, true);
    jobs.clock.pass(10_000);
    const second = await jobs.service.submit(newJob(), request('c', 'another body'));
    assert.notEqual(second.record.id, first.record.id);
  });

  it('makes one job of 50 requests at once, through two processes', async () => {
    const other = jobs.make();
    const before = (await jobs.service.list('acme', { limit: 100 })).items.length;
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 ? jobs : other).service.submit(newJob(), request('race'))),
    );
    assert.equal(new Set(results.map(({ record }) => record.id)).size, 1);
    assert.equal(results.filter(({ replayed }) => !replayed).length, 1);
    assert.equal((await jobs.service.list('acme', { limit: 100 })).items.length, before + 1);
  });

  it('tells that the first request is at work, and finishes its work when it died', async () => {
    const { idempotencyKey } = await import('../../src/jobs/job-keys.ts');
    const jobId = 'job_0123456789abcdefghij';
    const createdAt = new Date(jobs.clock.now()).toISOString();
    const stored = JSON.stringify({ bodySha256: 'body', jobId, createdAt });
    await jobs.store.put(idempotencyKey('acme', 'dead'), Buffer.from(stored));
    await assert.rejects(jobs.service.submit(newJob(), request('dead')), hasCode('IDEMPOTENCY_IN_FLIGHT'));
    jobs.clock.pass(11_000);
    const { record, replayed } = await jobs.service.submit(newJob(), request('dead'));
    assert.equal(record.id, jobId);
    assert.equal(replayed, false);
    assert.equal((await jobs.service.submit(newJob(), request('dead'))).record.id, jobId);
  });
});
