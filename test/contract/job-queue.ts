import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Consumer, JobHandler, JobQueue, QueuePlace } from '../../src/jobs/job-queue.ts';
import { hasCode } from './object-store.ts';

export interface QueueFixture {
  /** A queue with nothing in it; `clients` of one place, as that many processes have them. */
  fresh(clients: 1 | 2): Promise<readonly [JobQueue, JobQueue]>;
  stop(): Promise<void>;
}

/** Queues and consumers of the tests of a suite, closed after each. Called within `describe`. */
export function queuesOf(start: () => Promise<QueueFixture>) {
  let fixture: QueueFixture;
  const opened: JobQueue[] = [];
  const consumers: Consumer[] = [];

  before(async () => {
    fixture = await start();
  });
  afterEach(async () => {
    await Promise.all(consumers.splice(0).map((consumer) => consumer.close()));
    await Promise.all(opened.splice(0).map((queue) => queue.close()));
  });
  after(() => fixture.stop());

  const openTwo = async (clients: 1 | 2 = 2) => {
    const queues = await fixture.fresh(clients);
    opened.push(...queues.slice(0, clients));
    return queues;
  };
  return {
    openTwo,
    open: async () => (await openTwo(1))[0],
    consume: async (queue: JobQueue, handler: JobHandler, concurrency = 1) => {
      const consumer = await queue.consume(handler, { concurrency });
      consumers.push(consumer);
      return consumer;
    },
  };
}

/** What every JobQueue must do. */
export function describeJobQueue(
  name: string,
  options: { readonly skip: string | false; readonly start: () => Promise<QueueFixture> },
): void {
  describe(`JobQueue contract: ${name}`, { skip: options.skip }, () => {
    const { open, openTwo, consume } = queuesOf(options.start);

    it('answers ping, and counts of nothing', async () => {
      const queue = await open();
      await queue.ping();
      assert.deepEqual(await queue.counts(), { waiting: 0, active: 0 });
      assert.equal(await queue.position('job_a'), undefined);
    });

    it('delivers what was enqueued before and after consume', async () => {
      const queue = await open();
      const seen = recorder();
      await queue.enqueue('job_a', placeOf());
      await consume(queue, seen.handler);
      await seen.count(1);
      await queue.enqueue('job_b', placeOf());
      await seen.count(2);
      assert.deepEqual(seen.ids, ['job_a', 'job_b']);
      await until(async () => (await queue.counts()).active === 0);
      assert.deepEqual(await queue.counts(), { waiting: 0, active: 0 });
    });

    it('starts a job that comes while idle within 100 ms', async () => {
      const queue = await open();
      const seen = recorder();
      await consume(queue, seen.handler);
      await queue.enqueue('job_warm', placeOf());
      await seen.count(1);
      await delay(50);
      const start = performance.now();
      await queue.enqueue('job_a', placeOf());
      await seen.count(2);
      assert.ok(performance.now() - start < 100, `${performance.now() - start} ms`);
    });

    it('higher priority first, then in order of arrival, and tells the place in line', async () => {
      const queue = await open();
      const entries = [
        ['job_low1', 0],
        ['job_low2', 0],
        ['job_high', 10],
        ['job_mid1', 5],
        ['job_mid2', 5],
      ] as const;
      for (const [id, priority] of entries) await queue.enqueue(id, placeOf(priority));
      const order = ['job_high', 'job_mid1', 'job_mid2', 'job_low1', 'job_low2'];
      assert.deepEqual(await Promise.all(order.map((id) => queue.position(id))), [0, 1, 2, 3, 4]);
      const counts = await queue.counts();
      assert.equal(counts.waiting, 5);
      assert.ok(counts.oldestWaitingMs !== undefined && counts.oldestWaitingMs < 5000);
      const seen = recorder();
      await consume(queue, seen.handler);
      await seen.count(5);
      assert.deepEqual(seen.ids, order);
    });

    it('takes an id once while it is in the queue, and again when it is done', async () => {
      const queue = await open();
      const seen = recorder();
      await queue.enqueue('job_a', placeOf());
      await queue.enqueue('job_a', placeOf(3));
      assert.equal((await queue.counts()).waiting, 1);
      await consume(queue, seen.handler);
      await seen.count(1);
      await until(async () => (await queue.counts()).active === 0);
      await queue.enqueue('job_a', placeOf());
      await seen.count(2);
      assert.deepEqual(seen.ids, ['job_a', 'job_a']);
    });

    it('runs as many at once as asked, not more', async () => {
      const queue = await open();
      let now = 0;
      let most = 0;
      const seen = recorder(async () => {
        most = Math.max(most, ++now);
        await delay(30);
        now--;
        return 'done';
      });
      for (let n = 0; n < 9; n++) await queue.enqueue(`job_${n}x`, placeOf());
      await consume(queue, seen.handler, 3);
      await seen.count(9);
      assert.equal(most, 3);
    });

    it('shares the entries between consumers, each entry once', async () => {
      const [first, second] = await openTwo();
      const seen = recorder(async () => {
        await delay(2);
        return 'done';
      });
      for (let n = 0; n < 20; n++) await first.enqueue(`job_${n}x`, placeOf());
      await consume(first, seen.handler, 2);
      await consume(second, seen.handler, 2);
      await seen.count(20);
      await delay(50);
      assert.equal(new Set(seen.ids).size, 20);
      assert.equal(seen.ids.length, 20);
    });

    it('delivers again, with backoff, when the handler fails', async () => {
      const queue = await open();
      const times: number[] = [];
      const seen = recorder(() => {
        times.push(performance.now());
        return times.length < 3 ? Promise.reject(new Error('store down')) : Promise.resolve('done');
      });
      await consume(queue, seen.handler);
      await queue.enqueue('job_a', placeOf());
      await seen.count(3);
      const [first = 0, second = 0, third = 0] = times;
      assert.ok(second - first >= 90, `first pause ${second - first} ms`);
      assert.ok(third - second >= 190, `second pause ${third - second} ms`);
      await until(async () => (await queue.counts()).active === 0);
      assert.equal((await queue.counts()).waiting, 0);
    });

    it('delivers again when handed back, any number of times', async () => {
      const queue = await open();
      const seen = recorder(() => Promise.resolve(seen.ids.length < 4 ? 'requeue' : 'done'));
      await consume(queue, seen.handler);
      const start = performance.now();
      await queue.enqueue('job_a', placeOf());
      await seen.count(4);
      assert.ok(performance.now() - start < 3000, 'handing back must not grow a backoff');
      await until(async () => (await queue.counts()).active === 0);
      assert.equal((await queue.counts()).waiting, 0);
    });

    it('hands a job back to another consumer when one closes', async () => {
      const [first, second] = await openTwo();
      let closing = false;
      const leaving = recorder(async () => {
        while (!closing) await delay(5);
        return 'requeue';
      });
      const consumer = await first.consume(leaving.handler, { concurrency: 1 });
      await first.enqueue('job_a', placeOf());
      await leaving.count(1);
      const closed = consumer.close();
      await first.enqueue('job_b', placeOf());
      closing = true;
      await closed;
      const staying = recorder();
      await consume(second, staying.handler);
      await staying.count(2);
      assert.deepEqual([...staying.ids].sort(), ['job_a', 'job_b']);
      assert.deepEqual(leaving.ids, ['job_a']);
    });

    it('close of a consumer waits for its running handlers', async () => {
      const queue = await open();
      let ended = false;
      const seen = recorder(async () => {
        await delay(100);
        ended = true;
        return 'done';
      });
      const consumer = await queue.consume(seen.handler, { concurrency: 1 });
      await queue.enqueue('job_a', placeOf());
      await seen.count(1);
      await consumer.close();
      assert.ok(ended);
    });

    it('removes a waiting entry, and leaves a running one', async () => {
      const queue = await open();
      await queue.enqueue('job_gone', placeOf());
      await queue.enqueue('job_stays', placeOf());
      await queue.remove('job_gone');
      await queue.remove('job_never');
      assert.equal((await queue.counts()).waiting, 1);
      let release: (() => void) | undefined;
      const seen = recorder(async () => {
        await new Promise<void>((resolve) => (release = resolve));
        return 'done';
      });
      await consume(queue, seen.handler);
      await seen.count(1);
      await queue.remove('job_stays');
      assert.equal((await queue.counts()).active, 1);
      release?.();
      await until(async () => (await queue.counts()).active === 0);
      assert.deepEqual(seen.ids, ['job_stays']);
    });

    it('knows which of some jobs wait, not those a consumer has', async () => {
      const queue = await open();
      let release: () => void = () => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      await queue.enqueue('job_taken', placeOf(5));
      const seen = recorder(() => held.then(() => 'done'));
      await queue.consume(seen.handler, { concurrency: 1 });
      await seen.count(1);
      for (const id of ['job_a', 'job_b']) await queue.enqueue(id, placeOf());
      assert.deepEqual(await queue.holds(['job_b', 'job_taken', 'job_never', 'job_a']), new Set(['job_b', 'job_a']));
      assert.deepEqual(await queue.holds([]), new Set());
      await queue.remove('job_a');
      assert.deepEqual(await queue.holds(['job_a']), new Set());
      release();
      await until(async () => (await queue.holds(['job_b'])).size === 0);
    });

    it('tells every client of a change', async () => {
      const [first, second] = await openTwo();
      const heard: string[] = [];
      const unsubscribe = await first.subscribe((id, change) => heard.push(`first ${change} ${id}`));
      await second.subscribe(() => {
        throw new Error('a listener that fails is nobody else’s problem');
      });
      await second.subscribe((id, change) => heard.push(`second ${change} ${id}`));
      await second.notify('job_a', 'record');
      await until(() => Promise.resolve(heard.length === 2));
      assert.deepEqual([...heard].sort(), ['first record job_a', 'second record job_a']);
      await unsubscribe();
      await first.notify('job_b', 'event');
      await until(() => Promise.resolve(heard.length === 3));
      await delay(20);
      assert.deepEqual(heard.slice(2), ['second event job_b']);
    });

    it('answers QUEUE_UNAVAILABLE when it is closed', async () => {
      const queue = await open();
      await queue.close();
      await queue.close();
      await assert.rejects(queue.ping(), hasCode('QUEUE_UNAVAILABLE'));
      await assert.rejects(queue.enqueue('job_a', placeOf()), hasCode('QUEUE_UNAVAILABLE'));
    });
  });
}

/** Of a job that takes a turn of its tenant. */
export function placeOf(priority = 0, tenant = 'acme'): QueuePlace {
  return { tenant, priority, turn: 'own' };
}

export function recorder(work: () => Promise<'done' | 'requeue'> = () => Promise.resolve('done')) {
  const ids: string[] = [];
  const handler: JobHandler = async ({ jobId }) => {
    ids.push(jobId);
    return work();
  };
  return { ids, handler, count: (wanted: number) => until(() => Promise.resolve(ids.length >= wanted)) };
}

export async function until(holds: () => Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    assert.ok(performance.now() < end, `did not come to hold within ${timeoutMs} ms: ${holds.toString()}`);
    await delay(5);
  }
}
