import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Lanes } from '../../src/webhooks/lanes.ts';
import type { SendResult } from '../../src/webhooks/send.ts';
import { answer, event, finishedJob, openWebhooks } from './helpers.ts';

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return;
    await delay(10);
  }
  assert.fail(`${what} did not come about within 5 s`);
}

describe('Dispatcher', () => {
  it('delivers at once what happens in its process, and soon what another process left', async () => {
    const hooks = await openWebhooks();
    await hooks.service.createEndpoint('acme', { url: 'https://example.com/', description: '' });
    await hooks.onEvent(finishedJob(), event('job.succeeded')); // not started yet: nobody takes it
    assert.equal(hooks.sent.length, 0);
    hooks.dispatcher.start();
    await until('the delivery left over', () => hooks.sent.length === 1);
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await until('the new delivery', () => hooks.sent.length === 2);
    await hooks.stop();
  });

  it('F29 keeps fifty black holes from delaying the others, and sends all that waited for a busy one', async () => {
    let open: (result: SendResult) => void = () => undefined;
    const never = new Promise<SendResult>((done) => (open = done));
    const delays: number[] = [];
    const made = new Map<string, number>();
    const hooks = await openWebhooks(async ({ url, body }) => {
      if (url.includes('hole')) return never;
      const { data } = JSON.parse(body) as { data: { id: string } };
      delays.push(performance.now() - (made.get(data.id) ?? 0));
      await delay(2);
      return answer(200);
    });
    hooks.dispatcher.start();
    for (let n = 0; n < 50; n++)
      await hooks.service.createEndpoint('acme', { url: `https://hole-${n}.example.com/`, description: '' });
    for (let n = 0; n < 2; n++) await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await hooks.service.createEndpoint('acme', { url: 'https://good.example.com/', description: '' });
    for (let n = 0; n < 10; n++) {
      const job = finishedJob();
      made.set(job.id, performance.now());
      await hooks.onEvent(job, event('job.succeeded'));
    }
    await until('the good ones', () => delays.length === 10);
    const slowest = delays.sort((a, b) => a - b)[9] ?? Infinity;
    assert.ok(slowest < 5_000, `${slowest} ms`);
    assert.equal(hooks.sent.filter(({ url }) => url.includes('hole')).length, 50, 'one place each');
    open(answer(200));
    await until('the rest', async () => (await hooks.store.list('webhooks/due/')).length === 0);
    assert.equal(hooks.sent.length, 50 * 12 + 10);
    await hooks.stop();
  });

  it('cuts off at its end what takes too long, and leaves it to the next process', async () => {
    const hooks = await openWebhooks();
    const { id } = await hooks.service.createEndpoint('acme', { url: 'https://example.com/', description: '' });
    let started = false;
    const slow = hooks.make({
      send: (_request, signal) =>
        new Promise((done) => {
          started = true;
          signal?.addEventListener('abort', () => done({ kind: 'error', error: 'connection', detail: 'cut off' }));
        }),
    });
    slow.dispatcher.start();
    await slow.onEvent(finishedJob(), event('job.succeeded'));
    await until('the attempt', () => started);
    const start = performance.now();
    await slow.dispatcher.stop();
    assert.ok(performance.now() - start < 5_000);
    await hooks.run();
    const [delivery] = await hooks.log(id);
    assert.equal(delivery?.status, 'delivered');
    assert.equal(delivery.attempts.length, 1, 'what we cut off ourselves is no failure of the endpoint');
    await hooks.stop();
  });

  it('goes on after the store did not answer', async () => {
    const hooks = await openWebhooks();
    await hooks.service.createEndpoint('acme', { url: 'https://example.com/', description: '' });
    const list = hooks.store.list.bind(hooks.store);
    let failures = 0;
    hooks.store.list = (...args) => {
      failures += 1;
      return failures === 1 ? Promise.reject(new Error('away')) : list(...args);
    };
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    hooks.dispatcher.start();
    await until('the failure', () => failures === 1);
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await until('the new one', () => hooks.sent.length > 0);
    await hooks.stop();
  });
});

describe('Lanes', () => {
  it('give a lane one place until it has proven itself, and again after a failure', () => {
    const lanes = new Lanes({ overall: 10, perTenant: 6, perLane: 3 });
    const first = lanes.enter('a', 'x');
    assert.ok(first !== undefined);
    assert.equal(lanes.enter('a', 'x'), undefined);
    assert.ok(lanes.enter('b', 'x') !== undefined, 'another tenant has its own');
    first(true);
    const three = [lanes.enter('a', 'x'), lanes.enter('a', 'x'), lanes.enter('a', 'x')];
    assert.ok(three.every((leave) => leave !== undefined));
    assert.equal(lanes.enter('a', 'x'), undefined);
    for (const leave of three) leave(false);
    assert.ok(lanes.enter('a', 'x') !== undefined);
    assert.equal(lanes.enter('a', 'x'), undefined);
  });

  it('limit a tenant, and all together', () => {
    const lanes = new Lanes({ overall: 10, perTenant: 6, perLane: 3 });
    for (let n = 0; n < 6; n++) assert.ok(lanes.enter('a', `l${n}`) !== undefined);
    assert.equal(lanes.enter('a', 'l6'), undefined);
    for (let n = 0; n < 4; n++) assert.ok(lanes.enter('b', `l${n}`) !== undefined);
    assert.ok(lanes.full);
    assert.equal(lanes.enter('c', 'l0'), undefined);
  });
});
