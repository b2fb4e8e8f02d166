import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { markerKey, trialKey } from '../../src/jobs/job-keys.ts';
import { isTrialId } from '../../src/jobs/job-ids.ts';
import { CrashingStore } from '../helpers/crashing-store.ts';
import { hasCode } from '../contract/object-store.ts';
import { newJob, openJobs } from '../helpers/jobs.ts';
import { logOf, Searches, specOf } from '../helpers/searches.ts';

let tenants = 0;

describe('trials of a search', () => {
  let jobs: Awaited<ReturnType<typeof openJobs>>;
  before(async () => {
    jobs = await openJobs();
  });
  after(() => jobs.stop());

  /** A tenant of its own for each test: trials are shared within one. */
  const fresh = (): Searches => new Searches(jobs, `t${tenants++}`);

  it('are jobs of their own, with everything of the search but its recipe', async () => {
    const searches = fresh();
    const data = {
      calibration: { dataset: 'dst_0123456789abcdef', samples: 9 },
      evaluation: { dataset: 'dst_fedcba9876543210', metric: 'top5' as const },
    };
    const parent = await searches.waiting([specOf(1), specOf(2, { measure: 'full', seed: 7, evaluationSamples: 50 })], {
      data,
      priority: 4,
      threads: 2,
      deadlineSeconds: 60,
      metadata: { of: 'the search' },
      webhook: { url: 'https://example.com/' },
      constraints: { maxBytes: 9 },
    });
    assert.equal(parent.search?.asked, 2);
    assert.equal(parent.search.done, 0);
    const [first, second] = await Promise.all(parent.search.waiting.map((id) => searches.record(id)));
    assert.ok(first && second);
    assert.equal(first.status, 'queued');
    assert.deepEqual(first.recipe, specOf(1).recipe);
    assert.deepEqual(first.data, data);
    assert.deepEqual(second.data, { ...data, evaluation: { ...data.evaluation, samples: 50 } });
    assert.deepEqual(first.constraints, { maxBytes: 9 });
    assert.deepEqual([first.threads, first.priority, first.deadlineSeconds], [2, 4, 60]);
    assert.deepEqual([first.trial?.parent, first.trial?.measure], [parent.id, 'light']);
    assert.deepEqual([second.trial?.measure, second.seed], ['full', 7]);
    assert.equal(first.costTable, 'table', 'estimates of time must not depend on where a trial runs');
    assert.deepEqual([first.webhook, first.metadata], [undefined, {}], 'those are for the search alone');
    assert.ok(isTrialId(first.id) && !isTrialId(parent.id));
    assert.ok(await jobs.store.head(markerKey(first)));
    assert.match(markerKey(first), /@trial$/);
  });

  it('take the fewest samples that role and spec allow', async () => {
    const searches = fresh();
    const evaluation = { dataset: 'dst_fedcba9876543210', samples: 20 };
    const { search } = await searches.waiting([specOf(1, { evaluationSamples: 50 })], { data: { evaluation } });
    const trial = await searches.record(search?.waiting[0] ?? '');
    assert.equal(trial.data.evaluation?.samples, 20);
  });

  // Among themselves in any order: they are made side by side, and no result depends on which runs first.
  it('stand one level behind jobs of the same priority', async () => {
    const searches = fresh();
    const parent = await searches.waiting([specOf(1), specOf(2)], { priority: 5 });
    const ordinary = (await jobs.service.submit(newJob({ tenant: searches.tenant, priority: 5 }))).record.id;
    const low = (await jobs.service.submit(newJob({ tenant: searches.tenant, priority: 3 }))).record.id;
    const placeOf = async (id: string) => Number(await jobs.service.position(id));
    const [first, last] = [await placeOf(ordinary), await placeOf(low)];
    const trials = await Promise.all((parent.search?.waiting ?? []).map(placeOf));
    assert.equal(trials.length, 2);
    assert.ok(
      trials.every((place) => first < place && place < last),
      `${first} < ${trials.join(', ')} < ${last}`,
    );
  });

  it('count for no quota', async () => {
    const searches = fresh();
    const { id } = await searches.waiting([specOf(1), specOf(2), specOf(3)]);
    assert.deepEqual(await jobs.service.activeIds(searches.tenant, 10), [id]);
  });

  it('hold the search back until the last of them has ended, and are in its log then', async () => {
    const searches = fresh();
    const parent = await searches.waiting([specOf(1), specOf(2), specOf(3)]);
    const [first, second, third] = parent.search?.waiting ?? [];
    assert.ok(first && second && third);
    await searches.finish(second, { accuracy: 0.75, bytes: 12 });
    assert.equal(await jobs.claims.claim(parent.id, 'worker'), undefined);
    await searches.fail(third);
    assert.equal(await jobs.claims.claim(parent.id, 'worker'), undefined);
    await searches.finish(first);
    const attempt = await searches.claim(parent.id);
    const log = await attempt.trials();
    assert.deepEqual(
      log?.entries.map(({ job, result }) => [job, result]),
      [
        [first, { status: 'succeeded', accuracy: 0.5 }],
        [second, { status: 'succeeded', accuracy: 0.75, bytes: 12 }],
        [third, { status: 'failed', error: { code: 'MODEL_RUN', message: 'ended with MODEL_RUN' } }],
      ],
    );
    assert.deepEqual(
      (await attempt.modelOfTrial(second)).map(({ name }) => name),
      ['model.onnx'],
    );
  });

  it('wake the search when they end', async () => {
    const searches = fresh();
    const parent = await searches.waiting([specOf(1)]);
    await jobs.queue.remove(parent.id);
    await searches.finish(parent.search?.waiting[0] ?? '');
    assert.equal(typeof (await jobs.service.position(parent.id)), 'number');
  });

  it('that end while the search lies down are not missed', async () => {
    const searches = fresh();
    const attempt = await searches.begin();
    const asked = attempt.waitForTrials(logOf(specOf(1)));
    // Its one trial runs as soon as it is there, before the search has said that it waits.
    const ended = (async () => {
      for (;;) {
        const [trial] = (await jobs.service.list(searches.tenant, { limit: 1, trials: true })).items;
        if (trial !== undefined) return searches.finish(trial.id);
      }
    })();
    const outcome = await asked;
    await ended;
    const woken = (await jobs.service.position(attempt.record.id)) !== null;
    assert.ok(outcome === 'ready' || woken);
    assert.equal((await searches.claim(attempt.record.id)).number, 2);
  });

  it('are run once for all searches of a tenant, and by content alone', async () => {
    const searches = fresh();
    const one = await searches.waiting([specOf(1), specOf(2)]);
    const other = await searches.waiting([specOf(2), specOf(3)], {
      priority: 9,
      deadlineSeconds: 50,
      metadata: { a: 'b' },
      constraints: { maxBytes: 5 },
    });
    const [, shared] = one.search?.waiting ?? [];
    assert.ok(shared);
    assert.equal(other.search?.waiting[0], shared);
    assert.notEqual(other.search.waiting[1], one.search?.waiting[0]);
    await searches.finish(shared);
    await searches.finish(other.search.waiting[1] ?? '');
    const attempt = await searches.claim(other.id);
    assert.deepEqual(
      (await attempt.trials())?.entries.map(({ result }) => result?.status),
      ['succeeded', 'succeeded'],
    );
    // What is over is there at once.
    assert.equal(await (await searches.begin()).waitForTrials(logOf(specOf(2), specOf(3))), 'ready');
  });

  it('are others for other data, threads, seeds, samples, costs, allowed drops and, in full, constraints', async () => {
    const searches = fresh();
    const full = specOf(1, { measure: 'full' });
    const evaluation = { dataset: 'dst_fedcba9876543210' };
    const asked = [
      await searches.waiting([specOf(1), full]),
      await searches.waiting([specOf(1), full], { data: { evaluation } }),
      await searches.waiting([specOf(1), full], { data: { evaluation: { ...evaluation, samples: 5 } } }),
      await searches.waiting([specOf(1), full], { threads: 2 }),
      await searches.waiting([specOf(1), full], { inputs: { model: 'c'.repeat(64) } }),
      await searches.waiting([specOf(1), full], { constraints: { maxAccuracyDrop: 0.01 } }),
      await searches.waiting([specOf(1, { seed: 1 }), specOf(1, { measure: 'full', seed: 1 })]),
      await searches.waiting([specOf(1, { evaluationSamples: 9 })]),
      await searches.waiting([full], { constraints: { minSpeedup: 2 } }),
    ];
    const ids = asked.flatMap(({ search }) => search?.waiting ?? []);
    assert.equal(new Set(ids).size, ids.length);
    const elsewhere = await fresh().waiting([specOf(1)]);
    assert.ok(!ids.includes(elsewhere.search?.waiting[0] ?? ''), 'shared with another tenant');
    const attempt = await searches.begin();
    const cost = await jobs.claims.claim(
      (await jobs.service.submit(newJob({ tenant: searches.tenant }))).record.id,
      'w',
    );
    await cost?.pinCostTable('another table');
    await cost?.waitForTrials(logOf(specOf(1)));
    assert.ok(!ids.includes((await searches.record(cost?.record.id ?? '')).search?.waiting[0] ?? ''));
    await attempt.release({ crashed: false, message: '' });
  });

  it('two searches that ask at the same moment share one job', async () => {
    const searches = fresh();
    const specs = Array.from({ length: 8 }, (_, level) => specOf(level));
    const attempts = await Promise.all([searches.begin(), searches.begin(), searches.begin()]);
    await Promise.all(attempts.map((attempt) => attempt.waitForTrials(logOf(...specs))));
    const made = await jobs.service.list(searches.tenant, { limit: 100, trials: true });
    assert.equal(made.items.length, specs.length);
    const records = await Promise.all(attempts.map(({ record }) => searches.record(record.id)));
    assert.equal(new Set(records.map(({ search }) => search?.waiting.join())).size, 1);
  });

  it('that were canceled, removed, or ended by what passes are made anew; others that failed are not', async () => {
    const searches = fresh();
    const specs = [1, 2, 3, 4, 5].map((level) => specOf(level));
    const first = (await searches.waiting(specs)).search?.waiting ?? [];
    const [canceled = '', removed = '', late = '', crashed = '', broken = ''] = first;
    await jobs.service.cancel(searches.tenant, canceled);
    await searches.finish(removed);
    await jobs.service.remove(searches.tenant, removed);
    await searches.fail(late, 'LIMIT_TIME');
    await searches.fail(crashed, 'CRASH_LOOP');
    await searches.fail(broken, 'MODEL_RUN');
    const asked = performance.now();
    const again = await searches.waiting(specs);
    assert.ok(performance.now() - asked < 900, 'waits for the maker of a trial that was removed');
    const waiting = again.search?.waiting ?? [];
    assert.equal(waiting.length, 4);
    assert.ok(waiting.every((id) => !first.includes(id)));
    assert.equal(again.search?.done, 1);
  });

  it('whose maker died before it wrote the record are made by the next who asks', async () => {
    const searches = fresh();
    const parent = await searches.waiting([specOf(1)]);
    const trial = await searches.record(parent.search?.waiting[0] ?? '');
    const key = trialKey(searches.tenant, trial.trial?.hash ?? '');
    await jobs.store.put(key, Buffer.from(JSON.stringify({ job: 'job_00123456789abcdef' })));
    const next = await searches.waiting([specOf(1)]);
    assert.notEqual(next.search?.waiting[0], 'job_00123456789abcdef');
    assert.equal(await searches.status(next.search?.waiting[0] ?? ''), 'queued');
  });

  it('are asked for anew when one that the search waits for was canceled by somebody', async () => {
    const searches = fresh();
    const parent = await searches.waiting([specOf(1), specOf(2)]);
    const [first = '', second = ''] = parent.search?.waiting ?? [];
    await searches.finish(first);
    await jobs.service.cancel(searches.tenant, second);
    const attempt = await searches.claim(parent.id);
    const log = await attempt.trials();
    assert.ok(log);
    assert.deepEqual(
      log.entries.map(({ job, result }) => [job, result?.status]),
      [
        [first, 'succeeded'],
        [undefined, undefined],
      ],
    );
    assert.equal(await attempt.waitForTrials(log), 'waiting');
    const { search } = await searches.record(parent.id);
    assert.equal(search?.waiting.length, 1);
    assert.notEqual(search.waiting[0], second);
    assert.deepEqual([search.asked, search.done], [2, 1]);
  });

  it('whose model is wanted are run anew when they were removed', async () => {
    const searches = fresh();
    const parent = await searches.waiting([specOf(1), specOf(2)]);
    const [first = '', second = ''] = parent.search?.waiting ?? [];
    await searches.finish(first);
    await searches.finish(second);
    const attempt = await searches.claim(parent.id);
    const entries = (await attempt.trials())?.entries ?? [];
    const wanted = entries.map((entry, index) => (index === 0 ? { ...entry, fetch: true } : entry));
    assert.equal(await attempt.waitForTrials({ version: 1, entries: wanted }), 'ready');
    await jobs.service.remove(searches.tenant, first);
    await jobs.service.remove(searches.tenant, second);
    const later = await searches.claim(parent.id);
    const log = await later.trials();
    assert.deepEqual(log?.entries[0], { spec: specOf(1), fetch: true });
    assert.equal(log.entries[1]?.result?.status, 'succeeded', 'nobody needs its model');
    await assert.rejects(later.modelOfTrial(first), hasCode('INPUT_NOT_FOUND'));
    assert.equal(await later.waitForTrials(log), 'waiting');
    assert.equal((await searches.record(parent.id)).search?.waiting.length, 1);
  });

  it('keep one log of each search, however often it went on', async () => {
    const searches = fresh();
    const attempt = await searches.begin();
    await attempt.waitForTrials(logOf(specOf(0)));
    for (let level = 1; level < 4; level++) {
      for (const id of (await searches.record(attempt.record.id)).search?.waiting ?? []) await searches.finish(id);
      const next = await searches.claim(attempt.record.id);
      const log = await next.trials();
      await next.waitForTrials({ version: 1, entries: [...(log?.entries ?? []), { spec: specOf(level) }] });
    }
    const { search } = await searches.record(attempt.record.id);
    assert.deepEqual([search?.asked, search?.done, search?.waiting.length], [4, 3, 1]);
    const kept = await jobs.store.list(`tenants/${searches.tenant}/job-files/${attempt.record.id}/attempts/`, {
      limit: 100,
    });
    assert.deepEqual(
      kept.map(({ key }) => key),
      [search?.key],
    );
  });
});

describe('trials of a search whose worker dies while it asks for them', () => {
  it('are the same ones when another attempt asks, whatever write was the last', async () => {
    // Three writes come before: the claim, its event, the cost table. Then two each for key, marker, record; log; record.
    for (const [writes, when] of Array.from(
      { length: 16 },
      (_, n) => [4 + (n >> 1), n % 2 ? 'before' : 'after'] as const,
    )) {
      const jobs = await openJobs();
      try {
        const searches = new Searches(jobs);
        const { record } = await jobs.service.submit(newJob());
        const store = new CrashingStore(jobs.store, writes, when);
        const dying = jobs.make({ store });
        const attempt = await dying.claims.claim(record.id, 'dying');
        await attempt?.pinCostTable('table');
        await attempt?.waitForTrials(logOf(specOf(1), specOf(2))).catch(() => undefined);
        // Its silence is seen twice, with the limit in between.
        const reconciler = jobs.createReconciler();
        await reconciler.reconcile();
        jobs.clock.pass(15_000);
        await reconciler.reconcile();
        const next = await jobs.claims.claim(record.id, 'next');
        if (next !== undefined) await next.waitForTrials((await next.trials()) ?? logOf(specOf(1), specOf(2)));
        const { search } = await searches.record(record.id);
        assert.equal(search?.waiting.length, 2, `${when} write ${writes}`);
        for (const id of search.waiting) await searches.finish(id);
        const last = await searches.claim(record.id);
        const log = await last.trials();
        assert.equal(
          log?.entries.filter(({ result }) => result?.status === 'succeeded').length,
          2,
          `${when} write ${writes}`,
        );
        assert.equal(
          (await jobs.service.list('acme', { limit: 9, trials: true })).items.length,
          2,
          `${when} write ${writes}`,
        );
      } finally {
        await jobs.stop();
      }
    }
  });
});
