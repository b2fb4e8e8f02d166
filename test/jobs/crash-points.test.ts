import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Jobs } from '../../src/jobs/create-jobs.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { CrashingStore } from '../helpers/crashing-store.ts';
import { newJob, openJobs, RESULT } from '../helpers/jobs.ts';

/**
 * History check: a process dies at each of its writes in turn, once before the write and once after it with the answer
 * lost; another comes up on the same store. Every job that was acknowledged ends exactly once, the rest ends exactly
 * once or is not there.
 */
const REQUEST = { key: 'once', bodySha256: 'body' };

async function work(jobs: Jobs): Promise<string> {
  const { record } = await jobs.service.submit(newJob(), REQUEST);
  return record.id;
}

async function run(jobs: Jobs, jobId: string): Promise<void> {
  const attempt = await jobs.claims.claim(jobId, 'worker');
  if (attempt === undefined) return;
  await attempt.heartbeat({ step: 0, progress: 0.5 });
  await attempt.event('job.step', { step: 0 });
  await attempt.checkpoint({ key: 'k', steps: 1, sha256: 'c'.repeat(64) });
  await attempt.succeed(RESULT);
}

describe('crash at every write', () => {
  const processOf = (jobs: Awaited<ReturnType<typeof openJobs>>, store: ObjectStore, told: string[]) => {
    const queue = new InProcessQueue();
    const made = jobs.make({
      store,
      queue,
      onEvent: (record, event) => {
        if (store instanceof CrashingStore && store.dead) return Promise.reject(new Error('dead'));
        told.push(`${record.id} ${event.id} ${event.type}`);
        return Promise.resolve();
      },
    });
    return { queue, ...made };
  };

  for (const when of ['before', 'after'] as const) {
    it(`${when} the write reached the store`, async () => {
      let points = 0;
      for (let fatal = 1; ; fatal++) {
        const jobs = await openJobs();
        const told: string[] = [];
        const store = new CrashingStore(jobs.store, fatal, when);
        const first = processOf(jobs, store, told);
        let acknowledged: string | undefined;
        try {
          acknowledged = await work(first);
          await run(first, acknowledged);
        } catch {
          // the crash, or its consequence
        }
        const crashed = store.dead;
        await first.queue.close();

        // Another process, which knows nothing; the client repeats a request that was not answered.
        const second = processOf(jobs, jobs.store, told);
        await second.queue.consume(
          async ({ jobId }) => {
            await run(second, jobId);
            return 'done';
          },
          { concurrency: 1 },
        );
        await second.createReconciler({ soleProcess: true }).reconcile();
        jobs.clock.pass(61_000);
        const retried = await work(second);
        if (acknowledged !== undefined) assert.equal(retried, acknowledged, `crash at write ${fatal}: key made 2 jobs`);
        const where = `crash ${when} write ${fatal}`;
        for (let tries = 0; (await second.service.get('acme', retried))?.status !== 'succeeded'; tries++) {
          assert.ok(tries < 200, `${where}: job is ${(await second.service.get('acme', retried))?.status ?? 'lost'}`);
          await second.service.waitForChange(retried, 25);
        }
        while ((await second.queue.counts()).active > 0) await second.service.waitForChange(retried, 5);
        await second.createReconciler().reconcile();

        assert.equal((await second.service.list('acme', { limit: 10 })).items.length, 1, `${where}: one job`);
        const record = await second.service.get('acme', retried);
        const manifest = await second.service.manifest('acme', retried);
        assert.equal(manifest?.attempt, record?.attempt, `${where}: manifest of the attempt that won`);
        const events = await second.service.events('acme', retried, 0);
        assert.deepEqual(
          events.map((event) => event.id),
          events.map((_, index) => index + 1),
          `${where}: ids`,
        );
        assert.equal(events.filter((event) => event.type === 'job.succeeded').length, 1, `${where}: one end`);
        assert.equal(events.at(-1)?.type, 'job.succeeded', `${where}: the end is last`);
        const ends = new Set(told.filter((line) => line.endsWith('job.succeeded')));
        assert.equal(ends.size, 1, `${where}: the end was told`);
        const pending = (await jobs.store.list('pending/')).filter(({ key }) => key.includes(retried));
        assert.deepEqual(pending, [], `${where}: marker`);
        await second.queue.close();
        await jobs.stop();
        if (!crashed) break;
        points = fatal;
      }
      assert.equal(points, 12, 'writes of one job; a change here is a change of what a job costs');
    });
  }
});
