import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import { jobView, statusOf } from '../../src/schemas/job-view.ts';
import { hasCode } from '../contract/object-store.ts';
import { Crash, CrashingStore } from '../helpers/crashing-store.ts';
import { newJob, openJobs, RESULT } from '../helpers/jobs.ts';
import { logOf, Searches, specOf } from '../helpers/searches.ts';

const SILENCE_MS = 15_000;
let tenants = 0;

describe('a job that searches', () => {
  let jobs: Awaited<ReturnType<typeof openJobs>>;
  const told: string[] = [];
  before(async () => {
    jobs = await openJobs({
      onEvent: (record, event) => {
        told.push(`${record.id} ${event.type}`);
        return Promise.resolve();
      },
    });
  });
  after(() => jobs.stop());

  const fresh = (): Searches => new Searches(jobs, `t${tenants++}`);
  const types = async (searches: Searches, id: string) =>
    (await jobs.service.events(searches.tenant, id, 0)).map(({ type }) => type);

  it('is running to its clients while its trials are, and says so once', async () => {
    const searches = fresh();
    const record = await searches.waiting([specOf(1)]);
    assert.deepEqual([record.status, statusOf(record), record.workerId], ['queued', 'running', null]);
    const listed = async (status: 'running' | 'queued') =>
      (await jobs.service.list(searches.tenant, { limit: 9, status })).items.map(({ id }) => id);
    assert.deepEqual(await listed('running'), [record.id]);
    assert.deepEqual(await listed('queued'), []);
    await searches.finish(record.search?.waiting[0] ?? '');
    assert.equal(await (await searches.claim(record.id)).succeed(RESULT), 'published');
    assert.deepEqual(await types(searches, record.id), ['job.queued', 'job.running', 'job.progress', 'job.succeeded']);
    const events = await jobs.service.events(searches.tenant, record.id, 0);
    assert.match(JSON.stringify(events[2]), /the search goes on, with 1 trials asked for so far/);
  });

  it('shows how many of its trials are over as they end, and how far it was meanwhile', async () => {
    const searches = fresh();
    const attempt = await searches.begin();
    const { id } = attempt.record;
    const reached = { step: 0, progress: 0.4 };
    assert.equal(await attempt.waitForTrials(logOf(specOf(1), specOf(2), specOf(3), specOf(4)), reached), 'waiting');
    const shown = async () => {
      const { step, progress, search } = await searches.record(id);
      return { step, progress, asked: search?.asked, done: search?.done };
    };
    assert.deepEqual(await shown(), { ...reached, asked: 4, done: 0 });
    const waiting = (await searches.record(id)).search?.waiting ?? [];
    const [first = '', second = '', third = '', fourth = ''] = waiting;
    await searches.finish(first);
    // Woken by the end of a trial, a worker finds the others still to come.
    assert.equal(await jobs.claims.claim(id, 'worker'), undefined);
    assert.deepEqual(await shown(), { ...reached, asked: 4, done: 1 });
    await searches.fail(second);
    await jobs.service.cancel(searches.tenant, third);
    assert.equal(await jobs.claims.claim(id, 'worker'), undefined);
    assert.deepEqual(await shown(), { ...reached, asked: 4, done: 2 }, 'a trial that was canceled has no result');
    assert.deepEqual((await searches.record(id)).search?.waiting, waiting);
    await searches.finish(fourth);
    const next = await searches.claim(id);
    assert.deepEqual(await shown(), { ...reached, asked: 4, done: 3 });
    assert.equal(await next.waitForTrials((await next.trials()) ?? logOf()), 'waiting', 'the canceled one anew');
    assert.deepEqual(await shown(), { ...reached, asked: 4, done: 3 });
  });

  it('canceled while it waits, ends its trials and hands out what it found', async () => {
    const searches = fresh();
    const { id, search } = await searches.waiting([specOf(1), specOf(2), specOf(3)]);
    const [done = '', running = '', queued = ''] = search?.waiting ?? [];
    await searches.finish(done);
    const trial = await searches.claim(running);
    const answer = await jobs.service.cancel(searches.tenant, id);
    assert.equal(answer.status, 'canceling');
    assert.equal(await searches.status(queued), 'canceled', 'it would hold the only worker');
    assert.equal(await trial.heartbeat({ step: null, progress: 0 }), 'cancel');
    await trial.canceled();
    const attempt = await searches.claim(id);
    assert.equal(attempt.record.status, 'canceling');
    assert.deepEqual(
      (await attempt.trials())?.entries.map(({ job, result }) => [job, result?.status]),
      [
        [done, 'succeeded'],
        [undefined, undefined],
        [undefined, undefined],
      ],
    );
    assert.equal(await attempt.heartbeat({ step: null, progress: 0 }), 'cancel');
    assert.equal(await attempt.succeed({ ...RESULT, verdict: 'missed' }), 'published');
    const over = await searches.record(id);
    assert.deepEqual([over.status, over.verdict, over.summary], ['canceled', 'missed', RESULT.summary]);
    assert.deepEqual((await jobs.service.manifest(searches.tenant, id))?.artifacts, RESULT.artifacts);
    assert.equal((await types(searches, id)).at(-1), 'job.canceled');
    assert.equal((await jobs.service.cancel(searches.tenant, id)).status, 'canceled');
  });

  it('canceled while it waits, goes ahead of every job in the queue', async () => {
    const queue = new InProcessQueue();
    const other = jobs.make({ queue });
    const searches = fresh();
    const { id } = await searches.waiting([specOf(1)]);
    await other.createReconciler().reconcile(); // it stands in the queue, at its own priority
    await other.service.submit(newJob({ tenant: searches.tenant, priority: 9 }));
    await other.service.cancel(searches.tenant, id);
    assert.equal(await queue.position(id), 0);
    await queue.close();
  });

  it('asks for nothing more when its end is asked for while it asks', async () => {
    const searches = fresh();
    const attempt = await searches.begin();
    const { id } = attempt.record;
    await jobs.service.cancel(searches.tenant, id);
    assert.equal(await attempt.heartbeat({ step: null, progress: 0 }), 'cancel');
    assert.equal(await attempt.waitForTrials(logOf(specOf(1))), 'ready');
    assert.deepEqual((await jobs.service.list(searches.tenant, { limit: 9, trials: true })).items, []);
    const last = await searches.claim(id);
    await last.fail({ code: 'PASS_PRECONDITION', message: 'nothing found', step: 0, retryable: false });
    const over = await searches.record(id);
    assert.deepEqual([over.status, over.error, over.summary], ['canceled', null, null]);
    assert.equal(await jobs.service.manifest(searches.tenant, id), undefined);
  });

  it('canceled before it asked for a trial, is canceled like any job', async () => {
    const searches = fresh();
    const attempt = await searches.begin();
    await jobs.service.cancel(searches.tenant, attempt.record.id);
    assert.equal(await attempt.heartbeat({ step: null, progress: 0 }), 'cancel');
    assert.equal(await attempt.canceled(), 'published');
    assert.equal(await searches.status(attempt.record.id), 'canceled');
  });

  it('within its step: canceled once it has saved a state that holds a result, hands that out', async () => {
    const searches = fresh();
    const attempt = await searches.begin();
    const { id } = attempt.record;
    const saved = (name: string) => ({ key: `${attempt.prefix}${name}`, steps: 0, sha256: 'c'.repeat(64) });
    await attempt.checkpoint(saved('a'));
    assert.equal((await searches.record(id)).search, undefined);
    assert.equal(await attempt.checkpoint(saved('b'), true), 'continue');
    const record = await searches.record(id);
    assert.deepEqual([record.search?.asked, record.search?.waiting, record.checkpoint?.key], [0, [], saved('b').key]);
    assert.equal(jobView(record, null).trials, undefined, 'it asks for none');
    await jobs.service.cancel(searches.tenant, id);
    assert.equal(await attempt.heartbeat({ step: 0, progress: 0.5 }), 'cancel');
    assert.equal(await attempt.waitForTrials((await attempt.trials()) ?? logOf(specOf(1))), 'ready');
    const last = await searches.claim(id);
    assert.deepEqual([last.record.status, last.record.checkpoint?.key], ['canceling', saved('b').key]);
    assert.deepEqual(await last.trials(), { version: 1, entries: [] });
    assert.equal(await last.succeed(RESULT), 'published');
    assert.deepEqual([await searches.status(id), (await searches.record(id)).summary], ['canceled', RESULT.summary]);
  });

  it('whose concluding worker dies is concluded by another one, ten times at most', async () => {
    const searches = fresh();
    const { id, search } = await searches.waiting([specOf(1)]);
    await searches.finish(search?.waiting[0] ?? '');
    await jobs.service.cancel(searches.tenant, id);
    const reconciler = jobs.createReconciler();
    for (let lost = 1; lost <= 10; lost++) {
      await searches.claim(id);
      assert.equal(await jobs.claims.claim(id, 'other'), undefined);
      await reconciler.reconcile();
      jobs.clock.pass(SILENCE_MS);
      await reconciler.reconcile();
      assert.equal((await searches.record(id)).lostAttempts, lost);
    }
    assert.equal(await searches.status(id), 'canceled');
  });

  it('of which a concluding process crashes twice, ends as canceled without a result', async () => {
    const searches = fresh();
    const { id } = await searches.waiting([specOf(1)]);
    await jobs.service.cancel(searches.tenant, id);
    await (await searches.claim(id)).release({ crashed: true, message: 'SIGSEGV' });
    assert.equal(await searches.status(id), 'canceling');
    await (await searches.claim(id)).release({ crashed: true, message: 'SIGSEGV' });
    const { status, summary } = await searches.record(id);
    assert.deepEqual([status, summary], ['canceled', null]);
  });

  it('near its deadline, ends its trials by the reconciler and concludes', async () => {
    const searches = fresh();
    const { id, search } = await searches.waiting([specOf(1), specOf(2)], { deadlineSeconds: 100 });
    const [running = '', queued = ''] = search?.waiting ?? [];
    const trial = await searches.claim(running);
    jobs.clock.pass(80_000);
    const queue = new InProcessQueue();
    const reconciler = jobs.make({ queue }).createReconciler();
    await reconciler.reconcile();
    assert.equal(await jobs.claims.claim(id, 'worker'), undefined, 'its trials have time left');
    assert.equal(await trial.heartbeat({ step: null, progress: 0 }), 'continue');
    jobs.clock.pass(10_000);
    await reconciler.reconcile();
    assert.equal(await trial.heartbeat({ step: null, progress: 0 }), 'cancel');
    assert.equal(await searches.status(queued), 'canceled');
    assert.equal(typeof (await queue.position(id)), 'number');
    await queue.close();
    const attempt = await searches.claim(id);
    assert.equal(attempt.record.status, 'running');
    // It needs models of its trials, so another attempt follows: nothing new is asked for.
    assert.equal(await attempt.waitForTrials(logOf(specOf(1), specOf(9))), 'ready');
    jobs.clock.pass(3600_000);
    const late = await searches.claim(id);
    assert.equal(await late.succeed(RESULT), 'published');
    assert.equal(await searches.status(id), 'succeeded');
  });

  it('fails with LIMIT_TIME when it asked for no trial in time', async () => {
    const searches = fresh();
    const attempt = await searches.begin({ deadlineSeconds: 10 });
    await attempt.release({ crashed: false, message: 'shutdown' });
    jobs.clock.pass(11_000);
    assert.equal(await jobs.claims.claim(attempt.record.id, 'worker'), undefined);
    assert.equal((await searches.record(attempt.record.id)).error?.code, 'LIMIT_TIME');
  });

  it('may wait for its trials longer than a job may wait for a worker', async () => {
    const searches = fresh();
    const sixDays = 6 * 24 * 3600;
    const { record } = await jobs.service.submit(newJob({ tenant: searches.tenant, deadlineSeconds: sixDays }));
    jobs.clock.pass(2 * 24 * 3600 * 1000);
    const attempt = await searches.claim(record.id);
    await attempt.pinCostTable('table');
    await attempt.waitForTrials(logOf(specOf(1)));
    const [trial = ''] = (await searches.record(record.id)).search?.waiting ?? [];
    await searches.claim(trial);
    jobs.clock.pass(5.5 * 24 * 3600 * 1000);
    await jobs.createReconciler().reconcile();
    assert.equal(await searches.status(record.id), 'queued');
  });

  it('that ended leaves no trial to run, not even one that its record does not know of', async () => {
    const searches = fresh();
    const { record } = await jobs.service.submit(newJob({ tenant: searches.tenant }));
    // Dies when both trials are there and their log is not: claim, event, cost table; key, marker and record of each.
    const dying = jobs.make({ store: new CrashingStore(jobs.store, 10) });
    const attempt = await dying.claims.claim(record.id, 'dying');
    await attempt?.pinCostTable('table');
    await assert.rejects(attempt?.waitForTrials(logOf(specOf(1), specOf(2))) ?? Promise.resolve(), Crash);
    const trials = (await jobs.service.list(searches.tenant, { limit: 9, trials: true })).items;
    assert.equal(trials.length, 2);
    await jobs.service.cancel(searches.tenant, record.id);
    const [one, two] = trials.map(({ id }) => id);
    assert.equal(await jobs.claims.claim(one ?? '', 'worker'), undefined);
    assert.equal(await jobs.claims.claim(two ?? '', 'worker'), undefined);
    assert.deepEqual(await Promise.all([one, two].map((id) => searches.status(id ?? ''))), ['canceled', 'canceled']);
  });

  it('that shares a trial with one that was canceled runs it itself', async () => {
    const searches = fresh();
    const first = await searches.waiting([specOf(1)]);
    const second = await searches.waiting([specOf(1), specOf(2)]);
    const [shared = '', own = ''] = second.search?.waiting ?? [];
    assert.deepEqual(first.search?.waiting, [shared]);
    await jobs.service.cancel(searches.tenant, second.id);
    assert.equal(await searches.status(shared), 'queued', 'another search made it');
    assert.equal(await searches.status(own), 'canceled');
    const third = await searches.waiting([specOf(1)]);
    await jobs.service.cancel(searches.tenant, first.id);
    assert.equal(await searches.status(shared), 'canceled');
    const attempt = await searches.claim(third.id);
    assert.equal(await attempt.waitForTrials((await attempt.trials()) ?? logOf()), 'waiting');
    const [anew = ''] = (await searches.record(third.id)).search?.waiting ?? [];
    assert.notEqual(anew, shared);
    await searches.finish(anew);
    await searches.claim(third.id);
  });

  it('is found by the reconciler when the word of its last trial was lost', async () => {
    const searches = fresh();
    const { id, search } = await searches.waiting([specOf(1)]);
    await searches.finish(search?.waiting[0] ?? '');
    const queue = new InProcessQueue();
    await jobs.make({ queue }).createReconciler().reconcile();
    assert.equal(typeof (await queue.position(id)), 'number');
    await queue.close();
    await (await searches.claim(id)).succeed(RESULT);
  });

  it('lists its trials in the order it asked for them, shared ones too; other lists leave them out', async () => {
    const searches = fresh();
    const { tenant } = searches;
    const plain = (await jobs.service.submit(newJob({ tenant }))).record.id;
    const first = await searches.waiting([specOf(1), specOf(2), specOf(3)]);
    const second = await searches.waiting([specOf(4), specOf(2), specOf(5)]);
    const ids = async (query: Omit<Parameters<typeof jobs.service.list>[1], 'limit'>, limit = 100) => {
      const { items, nextCursor } = await jobs.service.list(tenant, { limit, ...query });
      return { ids: items.map(({ id }) => id), nextCursor };
    };
    assert.deepEqual(await ids({}), { ids: [second.id, first.id, plain], nextCursor: null });
    assert.deepEqual(await ids({}, 2), { ids: [second.id, first.id], nextCursor: first.id });
    assert.deepEqual((await ids({ cursor: first.id }, 2)).ids, [plain]);
    const asked = second.search?.waiting ?? [];
    assert.deepEqual(await ids({ parent: second.id }), { ids: asked, nextCursor: null });
    const [one = '', two = '', three = ''] = asked;
    assert.deepEqual(await ids({ parent: second.id }, 2), { ids: [one, two], nextCursor: two });
    assert.deepEqual(await ids({ parent: second.id, cursor: two }, 2), { ids: [three], nextCursor: null });
    await searches.finish(two);
    assert.deepEqual((await ids({ parent: second.id, status: 'succeeded' })).ids, [two]);
    assert.deepEqual((await ids({ parent: plain })).ids, []);
    assert.deepEqual((await ids({ parent: 'job_0123456789abcdef' })).ids, []);
    const all = await ids({ trials: true });
    assert.equal(all.ids.length, 5);
    assert.deepEqual((await ids({ trials: true }, 4)).ids, all.ids.slice(0, 4));
    assert.deepEqual((await ids({ trials: true, cursor: all.ids[3] ?? '' }, 4)).ids, all.ids.slice(4));
    for (const query of [{ cursor: one }, { trials: true, cursor: plain }, { parent: second.id, cursor: plain }])
      await assert.rejects(ids(query), hasCode('QUERY_INVALID'));
  });

  it('takes the trials that it made with it when it is removed', async () => {
    const searches = fresh();
    const first = await searches.waiting([specOf(1)]);
    const second = await searches.waiting([specOf(1), specOf(2), specOf(3)]);
    const [shared = '', own = '', running = ''] = second.search?.waiting ?? [];
    await searches.finish(shared);
    await searches.finish(own);
    await searches.claim(running);
    await assert.rejects(jobs.service.remove(searches.tenant, second.id), hasCode('CONFLICT'));
    await jobs.service.cancel(searches.tenant, second.id);
    await (await searches.claim(second.id)).succeed(RESULT);
    await jobs.service.remove(searches.tenant, second.id);
    assert.equal(await jobs.service.get(searches.tenant, second.id), undefined);
    assert.equal(await jobs.service.get(searches.tenant, own), undefined);
    assert.equal(await searches.status(shared), 'succeeded', 'it is of the other search');
    assert.equal(await searches.status(running), 'canceling', 'it is not over yet');
    const left = await jobs.store.list(`tenants/${searches.tenant}/job-files/${own}/`, { limit: 9 });
    assert.deepEqual(left, []);
    await (await searches.claim(first.id)).succeed(RESULT);
    await jobs.service.remove(searches.tenant, first.id);
    const known = await jobs.store.list(`tenants/${searches.tenant}/trials/`, { limit: 9 });
    assert.equal(known.length, 1, 'the one that was not over');
  });
});
