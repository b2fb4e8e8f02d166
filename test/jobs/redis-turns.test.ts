import assert from 'node:assert/strict';
import { Queue } from 'bullmq';
import { Redis as Client } from 'ioredis';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { BullMqQueue } from '../../src/jobs/bullmq-queue.ts';
import { placeOf, recorder, until } from '../contract/job-queue.ts';
import { skipWithout, startRedis } from '../helpers/services.ts';

/** BullMQ's largest number, with which entries are added. */
const UNPLACED = 2 ** 21 - 1;

/** What only the queue on Redis can get wrong; the turns themselves are in the contract of all queues. */
describe('turns in Redis', { skip: skipWithout('redis-server') }, () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  let client: Client;
  let queue: BullMqQueue;
  before(async () => {
    redis = await startRedis();
    client = new Client(redis.url);
  });
  after(async () => {
    client.disconnect();
    await redis.stop();
  });
  beforeEach(() => {
    queue = new BullMqQueue({ redisUrl: redis.url });
  });
  afterEach(async () => {
    await queue.close();
    await client.flushall();
  });

  const line = () => client.zrange('tersor:jobs:prioritized', '0', '-1');
  const numbers = async () =>
    Promise.all((await line()).map(async (id) => Number(await client.hget(`tersor:jobs:${id}`, 'priority'))));
  const post = async (tenant: string, ...ids: readonly string[]) => {
    for (const id of ids) await queue.enqueue(id, placeOf(0, tenant));
  };

  it('numbers rounds anew before the numbers of BullMQ end, in the same order', async () => {
    await post('anna', 'job_a1', 'job_a2', 'job_a3');
    await post('ben', 'job_b1', 'job_b2');
    const order = await line();
    // As if a million rounds had gone by while somebody always waited.
    const passed = 2 ** 20;
    for (const id of order) {
      const score = Number(await client.zscore('tersor:jobs:prioritized', id));
      await client.zadd('tersor:jobs:prioritized', String(score + passed * 2 ** 32), id);
      await client.hincrby(`tersor:jobs:${id}`, 'priority', passed);
    }
    for (const field of Object.keys(await client.hgetall('tersor:turns')))
      await client.hincrby('tersor:turns', field, passed);
    assert.ok((await numbers()).every((number) => number > passed));
    await post('cleo', 'job_c1');
    assert.deepEqual(await line(), ['job_a1', 'job_b1', 'job_c1', 'job_a2', 'job_b2', 'job_a3']);
    assert.deepEqual(await numbers(), [2, 2, 2, 3, 3, 4]);
    await post('anna', 'job_a4');
    await post('ben', 'job_b3');
    assert.deepEqual(await numbers(), [2, 2, 2, 3, 3, 4, 4, 5]);
    assert.deepEqual((await line()).slice(5), ['job_a3', 'job_b3', 'job_a4']);
  });

  it('places an entry whose process died before it did', async () => {
    await post('anna', 'job_a1', 'job_a2', 'job_a3');
    const dead = new Queue('jobs', { connection: { url: redis.url }, prefix: 'tersor' });
    await dead.add('job', {}, { jobId: 'job_b1', priority: UNPLACED });
    await dead.close();
    assert.equal(await queue.position('job_b1'), 3);
    await post('anna', 'job_a4');
    assert.deepEqual(await numbers(), [2, 3, 4, 5, UNPLACED], 'it is in nobody’s way');
    await post('ben', 'job_b1');
    assert.equal(await queue.position('job_b1'), 1);
  });

  it('counts an entry that a free worker took at once as a turn', async () => {
    const releases: (() => void)[] = [];
    const seen = recorder(() => new Promise((resolve) => releases.push(() => resolve('done'))));
    await queue.consume(seen.handler, { concurrency: 1 });
    await post('anna', 'job_a1');
    await seen.count(1);
    await post('anna', 'job_a2');
    await post('ben', 'job_b1');
    assert.deepEqual(await line(), ['job_b1', 'job_a2']);
    assert.equal(Number(await client.hget('tersor:jobs:job_a1', 'priority')) < UNPLACED, true);
    for (let n = 1; n <= 3; n++) {
      await seen.count(n);
      releases.shift()?.();
    }
    await until(async () => (await queue.counts()).active === 0);
    assert.deepEqual(seen.ids, ['job_a1', 'job_b1', 'job_a2']);
  });

  it('goes on in order when what it knows of tenants is lost, and with all entries', async () => {
    await post('anna', 'job_a1', 'job_a2', 'job_a3');
    await client.del('tersor:turns', 'tersor:turns:of:anna', 'tersor:turns:arrivals');
    await post('ben', 'job_b1', 'job_b2');
    assert.equal(await queue.position('job_b1'), 1);
    await client.flushall();
    await post('ben', 'job_b1', 'job_b2');
    await post('anna', 'job_a1');
    assert.deepEqual(await line(), ['job_b1', 'job_a1', 'job_b2']);
  });

  it('keeps nothing of entries that are over but the last turn of their tenant', async () => {
    const seen = recorder();
    const ids = Array.from({ length: 50 }, (_, n) => `job_${n}x`);
    await post('anna', ...ids);
    await queue.consume(seen.handler, { concurrency: 4 });
    await seen.count(50);
    await until(async () => (await queue.counts()).active === 0);
    await post('anna', 'job_last');
    await seen.count(51);
    for (const key of ['tersor:turns:of:anna', 'tersor:turns:arrivals']) assert.ok((await client.zcard(key)) <= 1, key);
    assert.ok((await client.ttl('tersor:turns:of:anna')) !== -1, 'it would stay for ever');
  });

  it('tells the age of the oldest that waits, not of the next', async () => {
    await post('anna', 'job_a1', 'job_a2');
    await client.hset('tersor:jobs:job_a2', 'timestamp', Date.now() - 60_000);
    await client.zadd('tersor:turns:arrivals', Date.now() - 60_000, 'job_a2');
    await post('ben', 'job_b1');
    const { oldestWaitingMs = 0 } = await queue.counts();
    assert.ok(oldestWaitingMs >= 60_000 && oldestWaitingMs < 70_000, `${oldestWaitingMs} ms`);
    await queue.remove('job_a2');
    const later = await queue.counts();
    assert.ok((later.oldestWaitingMs ?? Infinity) < 30_000, JSON.stringify(later));
  });
});
