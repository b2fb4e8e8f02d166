import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { JobQueue } from '../../src/jobs/job-queue.ts';
import { placeOf, queuesOf, recorder, type QueueFixture } from './job-queue.ts';

/** How every JobQueue shares the workers between tenants. */
export function describeQueueTurns(
  name: string,
  options: { readonly skip: string | false; readonly start: () => Promise<QueueFixture> },
): void {
  describe(`JobQueue contract, turns of tenants: ${name}`, { skip: options.skip }, () => {
    const { open, openTwo, consume } = queuesOf(options.start);
    /** Who waits, in order. */
    const line = async (queue: JobQueue, ids: readonly string[]): Promise<string[]> => {
      const places = await Promise.all(ids.map(async (id) => [id, (await queue.position(id)) ?? -1] as const));
      return places.sort(([, a], [, b]) => a - b).map(([id]) => id);
    };
    const post = async (queue: JobQueue, tenant: string, ids: readonly string[], priority = 0) => {
      for (const id of ids) await queue.enqueue(id, placeOf(priority, tenant));
    };
    const named = (name: string, count: number) => Array.from({ length: count }, (_, n) => `job_${name}${n}`);

    it('gives tenants turns, whoever came first and with however many', async () => {
      const queue = await open();
      await post(queue, 'anna', named('a', 6));
      await post(queue, 'ben', named('b', 3));
      await post(queue, 'cleo', named('c', 1));
      const order = ['a0', 'b0', 'c0', 'a1', 'b1', 'a2', 'b2', 'a3', 'a4', 'a5'].map((name) => `job_${name}`);
      assert.deepEqual(await line(queue, [...order].reverse()), order);
      const seen = recorder();
      await consume(queue, seen.handler);
      await seen.count(10);
      assert.deepEqual(seen.ids, order);
    });

    it('starts the one job of a tenant with the next free worker, behind 500 of somebody else', async () => {
      const queue = await open();
      const releases: (() => void)[] = [];
      const seen = recorder(() => new Promise((resolve) => releases.push(() => resolve('done'))));
      await consume(queue, seen.handler, 2);
      await Promise.all(named('a', 502).map((id) => queue.enqueue(id, placeOf(10, 'anna'))));
      await seen.count(2);
      await queue.enqueue('job_b', placeOf(0, 'ben'));
      assert.equal(await queue.position('job_b'), 0);
      releases.shift()?.();
      await seen.count(3);
      assert.equal(seen.ids[2], 'job_b');
      // And again in the middle of the line, with two of them.
      for (let n = 4; n <= 40; n++) {
        releases.shift()?.();
        await seen.count(n);
      }
      await post(queue, 'ben', ['job_b1', 'job_b2']);
      const places = await Promise.all([queue.position('job_b1'), queue.position('job_b2')]);
      assert.ok((places[0] ?? 9) <= 1 && (places[1] ?? 9) <= 3, places.join());
      for (const id of named('a', 502)) await queue.remove(id);
      while ((await queue.counts()).active > 0) {
        releases.shift()?.();
        await delay(1);
      }
    });

    it('starves nobody when two tenants post without end', async () => {
      const queue = await open();
      await post(queue, 'anna', named('a', 20));
      let posted = 0;
      const seen = recorder(async () => {
        if (posted < 20) await queue.enqueue(`job_b${posted}`, placeOf(10, posted++ % 2 === 0 ? 'ben' : 'cleo'));
        return 'done';
      });
      await consume(queue, seen.handler);
      await seen.count(40);
      const first = seen.ids.slice(0, 20).filter((id) => id.startsWith('job_a')).length;
      assert.ok(first >= 6 && first <= 12, `${first} of the first 20: ${seen.ids.join()}`);
    });

    it('counts priorities within a tenant only', async () => {
      const queue = await open();
      await post(queue, 'anna', ['job_low1', 'job_low2', 'job_low3']);
      await post(queue, 'ben', named('b', 4));
      await post(queue, 'anna', ['job_mid'], 5);
      await post(queue, 'anna', ['job_high1', 'job_high2'], 10);
      await post(queue, 'anna', ['job_low4'], 0);
      const order = 'high1 b0 high2 b1 mid b2 b3 low1 low2 low3 low4'.split(' ').map((name) => `job_${name}`);
      assert.deepEqual(await line(queue, [...order].reverse()), order);
      await queue.remove('job_mid');
      await post(queue, 'anna', ['job_mid2'], 5);
      const then = 'high1 b0 high2 b1 b2 b3 mid2 low1 low2 low3 low4'.split(' ').map((name) => `job_${name}`);
      assert.deepEqual(await line(queue, [...then].reverse()), then);
    });

    it('keeps the places of entries that are enqueued again, and their order', async () => {
      const queue = await open();
      await post(queue, 'anna', ['job_low1', 'job_low2']);
      await post(queue, 'ben', named('b', 2));
      for (let again = 0; again < 2; again++) await post(queue, 'anna', ['job_low2', 'job_low1'], 10);
      await post(queue, 'anna', ['job_low3']);
      await post(queue, 'anna', ['job_high'], 1);
      const order = 'high b0 low1 b1 low2 low3'.split(' ').map((name) => `job_${name}`);
      assert.deepEqual(await line(queue, [...order].reverse()), order);
    });

    it('lets what shares a turn go along with the next of its tenant, and what is ahead before all', async () => {
      const queue = await open();
      await post(queue, 'anna', named('trial', 3), -1);
      await post(queue, 'ben', named('b', 3));
      const search = { tenant: 'anna', priority: 0 } as const;
      await queue.enqueue('job_search', { ...search, turn: 'shared' });
      await queue.enqueue('job_canceled', { ...search, turn: 'ahead' });
      await queue.enqueue('job_search', { ...search, turn: 'shared' });
      const order = 'canceled trial0 b0 search trial1 b1 trial2 b2'.split(' ').map((name) => `job_${name}`);
      assert.deepEqual(await line(queue, [...order].reverse()), order);
    });

    it('forgives turns that nobody waits for any more', async () => {
      const queue = await open();
      const many = named('a', 20);
      await post(queue, 'anna', many);
      await post(queue, 'ben', named('b', 5));
      for (const id of many) await queue.remove(id);
      await post(queue, 'anna', ['job_again']);
      assert.ok(((await queue.position('job_again')) ?? 9) <= 3);
    });

    it('counts turns right when two processes post at once', async () => {
      const [first, second] = await openTwo();
      await Promise.all(named('a', 20).map((id, n) => (n % 2 === 0 ? first : second).enqueue(id, placeOf(0, 'anna'))));
      await Promise.all(named('b', 20).map((id, n) => (n % 2 === 0 ? first : second).enqueue(id, placeOf(0, 'ben'))));
      const order = await line(first, [...named('a', 20), ...named('b', 20)]);
      assert.equal(order.map((id) => id[4]).join(''), 'ab'.repeat(20));
    });

    it('keeps the turn of an entry that is handed back, and its place when it is enqueued again', async () => {
      const queue = await open();
      await post(queue, 'anna', named('a', 30));
      await queue.enqueue('job_a29', placeOf(10, 'ben'));
      assert.equal(await queue.position('job_a29'), 29);
      const seen = recorder(async () => {
        const isFirst = seen.ids.length === 1;
        await delay(20);
        return isFirst ? 'requeue' : 'done';
      });
      await consume(queue, seen.handler);
      await seen.count(31);
      assert.ok(seen.ids.lastIndexOf('job_a0') < 20, seen.ids.join());
      assert.equal(seen.ids.at(-1), 'job_a29');
    });
  });
}
