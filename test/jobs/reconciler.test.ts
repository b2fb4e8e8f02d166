import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { markerKey } from '../../src/jobs/job-keys.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import type { JobEvent } from '../../src/jobs/job-service.ts';
import { until } from '../contract/job-queue.ts';
import { newJob, openJobs, RESULT } from '../helpers/jobs.ts';

const SILENCE_MS = 15_000;

describe('Reconciler', () => {
  let jobs: Awaited<ReturnType<typeof openJobs>>;
  const told: string[] = [];
  let sinkFails = false;
  before(async () => {
    jobs = await openJobs({
      onEvent: (record, event: JobEvent) => {
        if (sinkFails && event.type !== 'job.queued') return Promise.reject(new Error('no dispatcher'));
        told.push(`${record.id} ${event.type} ${event.id}`);
        return Promise.resolve();
      },
    });
  });
  after(() => jobs.stop());
  const submit = async (changes = {}) => (await jobs.service.submit(newJob(changes))).record.id;
  const status = async (jobId: string) => (await jobs.service.get('acme', jobId))?.status;

  it('fills a queue that lost everything, in priority order, and does nothing twice', async () => {
    const low = await submit({ priority: 0 });
    const high = await submit({ priority: 9 });
    const queue = new InProcessQueue();
    const restarted = jobs.make({ queue });
    const reconciler = restarted.createReconciler();
    const report = await reconciler.reconcile();
    assert.equal(report.enqueued, 2);
    assert.deepEqual([await queue.position(high), await queue.position(low)], [0, 1]);
    await Promise.all([reconciler.reconcile(), restarted.createReconciler().reconcile()]);
    assert.equal((await queue.counts()).waiting, 2);
    await queue.close();
    for (const jobId of [low, high]) await jobs.service.cancel('acme', jobId);
    assert.deepEqual(await jobs.createReconciler().reconcile(), { pending: 0, enqueued: 0, silent: 0, settled: 0 });
  });

  it('fills it so that tenants take turns, the oldest of their jobs first', async () => {
    const many: string[] = [];
    for (let n = 0; n < 60; n++) many.push(await submit());
    const other = await submit({ tenant: 'other' });
    const queue = new InProcessQueue();
    assert.equal((await jobs.make({ queue }).createReconciler().reconcile()).enqueued, 61);
    assert.ok(((await queue.position(other)) ?? 99) <= 1);
    const places = await Promise.all(many.map(async (id) => (await queue.position(id)) ?? -1));
    // Records are read several at a time.
    for (const [n, place] of places.entries()) assert.ok(Math.abs(place - n) <= 32, `${n} at ${place}`);
    await queue.close();
    for (const jobId of many) await jobs.service.cancel('acme', jobId);
    await jobs.service.cancel('other', other);
  });

  it('does not read the record of a job that waits in the queue each time, but once a minute and when the queue has lost it', async () => {
    const jobId = await submit();
    const queue = new InProcessQueue();
    let reads = 0;
    const store = new Proxy(jobs.store, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (name === 'get' && args[0] === `tenants/acme/jobs/${jobId}.json`) reads += 1;
          return Reflect.apply(value, target, args);
        };
      },
    });
    const reconciler = jobs.make({ queue, store }).createReconciler();
    for (let round = 0; round < 5; round++) assert.equal((await reconciler.reconcile()).pending, 1);
    assert.equal(reads, 1);
    await queue.remove(jobId);
    assert.equal((await reconciler.reconcile()).enqueued, 1);
    assert.equal(await queue.position(jobId), 0);
    assert.equal(reads, 2);
    jobs.clock.pass(60_000);
    await reconciler.reconcile();
    assert.equal(reads, 3);
    await queue.close();
    await jobs.service.cancel('acme', jobId);
  });

  it('queues the job of a silent worker again; two reconcilers take it away once', async () => {
    const jobId = await submit();
    const attempt = await jobs.claims.claim(jobId, 'worker');
    const one = jobs.createReconciler();
    const two = jobs.make().createReconciler();
    await Promise.all([one.reconcile(), two.reconcile()]);
    jobs.clock.pass(SILENCE_MS - 5_000);
    await Promise.all([one.reconcile(), two.reconcile()]);
    assert.equal(await status(jobId), 'running');
    jobs.clock.pass(5_000);
    const reports = await Promise.all([one.reconcile(), two.reconcile()]);
    assert.equal(reports[0].silent + reports[1].silent, 1);
    assert.equal(await status(jobId), 'queued');
    assert.equal((await jobs.service.get('acme', jobId))?.lostAttempts, 1);
    assert.equal(await attempt?.heartbeat({ step: 0, progress: 0 }), 'lost');
    await jobs.service.cancel('acme', jobId);
  });

  it('ends canceling jobs whose worker died', async () => {
    const jobId = await submit();
    await jobs.claims.claim(jobId, 'worker');
    await jobs.service.cancel('acme', jobId);
    const reconciler = jobs.createReconciler();
    await reconciler.reconcile();
    assert.equal(await status(jobId), 'canceling');
    jobs.clock.pass(SILENCE_MS);
    await reconciler.reconcile();
    assert.equal(await status(jobId), 'canceled');
  });

  it('a sole process takes up its predecessor’s jobs without waiting', async () => {
    const jobId = await submit();
    await jobs.claims.claim(jobId, 'dead worker');
    const reconciler = jobs.createReconciler({ soleProcess: true });
    await reconciler.reconcile();
    assert.equal(await status(jobId), 'queued');
    const attempt = await jobs.claims.claim(jobId, 'worker');
    await reconciler.reconcile(); // only the first round
    assert.equal(await attempt?.heartbeat({ step: 0, progress: 0 }), 'continue');
    assert.equal(await attempt?.succeed(RESULT), 'published');
  });

  it('tells the end of a job until the sink takes it', async () => {
    const jobId = await submit();
    const attempt = await jobs.claims.claim(jobId, 'worker');
    sinkFails = true;
    assert.equal(await attempt?.succeed(RESULT), 'published');
    assert.ok(!told.includes(`${jobId} job.succeeded 3`));
    await jobs.createReconciler().reconcile();
    sinkFails = false;
    const report = await jobs.createReconciler().reconcile();
    assert.equal(report.settled, 1);
    assert.ok(told.includes(`${jobId} job.succeeded 3`));
    assert.equal((await jobs.service.events('acme', jobId, 0)).length, 3);
    assert.equal((await jobs.createReconciler().reconcile()).pending, 0);
  });

  it('sweeps a marker whose record never came, after a minute', async () => {
    const key = markerKey({ tenant: 'acme', id: 'job_0123456789abcdef' });
    await jobs.store.put(key, Buffer.from('{}'));
    const reconciler = jobs.createReconciler();
    await reconciler.reconcile();
    jobs.clock.pass(59_000);
    await reconciler.reconcile();
    assert.ok(await jobs.store.head(key));
    jobs.clock.pass(2_000);
    await reconciler.reconcile();
    assert.equal(await jobs.store.head(key), undefined);
  });

  it('fails a job that nobody took for 7 days', async () => {
    const jobId = await submit();
    jobs.clock.pass(7 * 24 * 3600 * 1000 + 1000);
    await jobs.createReconciler().reconcile();
    const record = await jobs.service.get('acme', jobId);
    assert.equal(record?.status, 'failed');
    assert.equal(record.error?.code, 'OVERLOADED');
    assert.equal(record.error.retryable, true);
  });

  it('goes on when one job cannot be read', async () => {
    const bad = await submit();
    await jobs.store.put(`tenants/acme/jobs/${bad}.json`, Buffer.from('{ not json'));
    const good = await submit();
    const queue = new InProcessQueue();
    const report = await jobs.make({ queue }).createReconciler().reconcile();
    assert.deepEqual([report.pending, report.enqueued], [2, 1]);
    assert.equal(await queue.position(good), 0);
    await queue.close();
    await jobs.store.delete(`tenants/acme/jobs/${bad}.json`);
    await jobs.store.delete(markerKey({ tenant: 'acme', id: bad }));
    await jobs.service.cancel('acme', good);
  });

  it('runs round after round until it is stopped', async () => {
    const queue = new InProcessQueue();
    const reconciler = jobs.make({ queue }).createReconciler({ intervalMs: 20 });
    await reconciler.start();
    const jobId = await submit(); // into another queue
    await until(async () => (await queue.position(jobId)) === 0);
    await reconciler.stop();
    await queue.remove(jobId);
    await new Promise((resolve) => setTimeout(resolve, 60));
    assert.equal(await queue.position(jobId), undefined);
    await queue.close();
    await jobs.service.cancel('acme', jobId);
  });
});
