import assert from 'node:assert/strict';
import { createServer, connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis as Client } from 'ioredis';
import { BullMqQueue } from '../../src/jobs/bullmq-queue.ts';
import { hasCode } from '../contract/object-store.ts';
import { placeOf, recorder, until } from '../contract/job-queue.ts';
import { newJob, openJobs, RESULT } from '../helpers/jobs.ts';
import { freePort, skipWithout, startRedis } from '../helpers/services.ts';

const timed = async (work: Promise<unknown>) => {
  const start = performance.now();
  await work;
  return performance.now() - start;
};

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
function later<T>(made: T, cleanup: (made: T) => Promise<unknown>): T {
  cleanups.push(() => cleanup(made));
  return made;
}
const redisOf = async (options: Parameters<typeof startRedis>[0] = {}) =>
  later(await startRedis(options), (redis) => redis.stop());
const queueOf = (redisUrl: string) => later(new BullMqQueue({ redisUrl }), (queue) => queue.close());
const jobsOf = async () => later(await openJobs(), (jobs) => jobs.stop());

describe('BullMqQueue through outages', { skip: skipWithout('redis-server') }, () => {
  it(
    'a worker recovers from a Redis crash; calls fail fast meanwhile; no job is lost',
    { timeout: 40_000 },
    async () => {
      const redis = await redisOf({ appendOnly: true });
      const queue = queueOf(redis.url);
      const jobs = await jobsOf();
      const made = jobs.make({ queue });
      const { service, claims } = made;
      const finished: string[] = [];
      let gateOpen = true;
      await queue.consume(
        async ({ jobId }) => {
          const attempt = await claims.claim(jobId, 'worker');
          await until(() => Promise.resolve(gateOpen));
          if ((await attempt?.succeed(RESULT)) === 'published') finished.push(jobId);
          return 'done';
        },
        { concurrency: 2 },
      );
      const reconciler = later(made.createReconciler({ intervalMs: 500 }), (started) => started.stop());
      await reconciler.start();
      const submit = async () => (await service.submit(newJob())).record.id;
      const before = await submit();
      await until(() => Promise.resolve(finished.includes(before)));

      gateOpen = false;
      const during = await submit();
      await until(async () => (await service.get('acme', during))?.status === 'running');
      await redis.kill();
      assert.ok((await timed(assert.rejects(queue.ping(), hasCode('QUEUE_UNAVAILABLE')))) < 2_500);
      gateOpen = true; // a job that ends while Redis is away is published all the same
      await until(() => Promise.resolve(finished.includes(during)));
      const away = await submit(); // acknowledged: its record is stored
      await delay(2_500);
      // An outage that is known fails calls at once.
      assert.ok((await timed(assert.rejects(queue.ping(), hasCode('QUEUE_UNAVAILABLE')))) < 200);

      await redis.restart();
      const back = await timed(until(() => Promise.resolve(finished.includes(away)), 15_000));
      assert.ok(back < 10_000, `the job came ${back} ms after Redis was back`);
      const after = await submit();
      await until(() => Promise.resolve(finished.includes(after)));
      assert.deepEqual([...finished].sort(), [before, during, away, after].sort());
    },
  );

  it('FLUSHALL loses no job, waiting or running', { timeout: 30_000 }, async () => {
    const redis = await redisOf();
    const queue = queueOf(redis.url);
    const jobs = await jobsOf();
    const made = jobs.make({ queue });
    const { service, claims } = made;
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.push((await service.submit(newJob())).record.id);
    const published: string[] = [];
    let flushed = false;
    await queue.consume(
      async ({ jobId }) => {
        const attempt = await claims.claim(jobId, 'worker');
        await until(() => Promise.resolve(flushed));
        if ((await attempt?.succeed(RESULT)) === 'published') published.push(jobId);
        return 'done';
      },
      { concurrency: 1 },
    );
    await until(async () => (await queue.counts()).active === 1);
    const client = new Client(redis.url);
    await client.flushall();
    client.disconnect();
    flushed = true;
    const reconciler = later(made.createReconciler({ intervalMs: 300 }), (started) => started.stop());
    await reconciler.start();
    const healed = await timed(until(() => Promise.resolve(published.length === 5), 20_000));
    assert.ok(healed < 20_000);
    assert.deepEqual([...published].sort(), [...ids].sort());
  });

  it(
    'answers within 2 s when Redis was never there, and when it swallows everything',
    { timeout: 20_000 },
    async () => {
      const nowhere = queueOf(`redis://127.0.0.1:${await freePort()}`);
      assert.ok(
        (await timed(assert.rejects(nowhere.enqueue('job_a', placeOf()), hasCode('QUEUE_UNAVAILABLE')))) < 2_500,
      );

      const redis = await redisOf();
      let swallow = false;
      const sockets = new Set<Socket>();
      const hole = createServer((socket) => {
        const upstream = connect(redis.port, '127.0.0.1');
        for (const end of [socket, upstream]) {
          sockets.add(end);
          end.on('error', () => undefined);
          end.on('close', () => sockets.delete(end));
        }
        socket.on('data', (chunk) => {
          if (!swallow) upstream.write(chunk);
        });
        upstream.pipe(socket);
      });
      const port = await freePort();
      await new Promise<void>((resolve) => hole.listen(port, '127.0.0.1', resolve));
      const queue = queueOf(`redis://127.0.0.1:${port}`);
      await queue.ping();
      swallow = true;
      const waited = await timed(assert.rejects(queue.enqueue('job_a', placeOf()), hasCode('QUEUE_UNAVAILABLE')));
      assert.ok(waited > 1_900 && waited < 2_500, `${waited} ms`);
      for (const socket of sockets) socket.destroy();
      hole.close();
    },
  );

  it('closes while Redis is away', { timeout: 20_000 }, async () => {
    const redis = await redisOf();
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const timersBefore = timers();
    const queue = queueOf(redis.url);
    const seen = recorder();
    await queue.consume(seen.handler, { concurrency: 1 });
    await queue.enqueue('job_a', placeOf());
    await seen.count(1);
    await redis.kill();
    assert.ok((await timed(queue.close())) < 6_000);
    // What is left running would keep the process alive.
    await until(() => Promise.resolve(timers() <= timersBefore));
  });

  it('refuses a Redis that may drop keys', async () => {
    const redis = await redisOf({ policy: 'allkeys-lru' });
    const queue = queueOf(redis.url);
    await assert.rejects(queue.verify(), hasCode('CONFIG_INVALID'));
    const good = await redisOf();
    const other = queueOf(good.url);
    await other.verify();
  });

  it('reads nothing but the id of an entry that somebody forged', async () => {
    const redis = await redisOf();
    const queue = queueOf(redis.url);
    const jobs = await jobsOf();
    const { claims } = jobs.make({ queue });
    const { Queue } = await import('bullmq');
    const forger = new Queue('jobs', { connection: { url: redis.url }, prefix: 'tersor' });
    await forger.add(
      'anything',
      { tenant: 'victim', path: '../../etc' },
      { jobId: 'job_forged0123456789', removeOnComplete: true },
    );
    await forger.add('anything', 'not even an object', { removeOnComplete: true });
    const outcomes: unknown[] = [];
    await queue.consume(
      async ({ jobId }) => {
        outcomes.push(await claims.claim(jobId, 'worker'));
        return 'done';
      },
      { concurrency: 1 },
    );
    await until(() => Promise.resolve(outcomes.length === 2));
    assert.deepEqual(outcomes, [undefined, undefined]);
    await until(async () => (await queue.counts()).active === 0);
    assert.deepEqual(await queue.counts(), { waiting: 0, active: 0 });
    await forger.close();
  });
});
