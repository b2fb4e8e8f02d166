import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { jobView } from '../../src/schemas/job-view.ts';
import { LEASE_MS } from '../../src/webhooks/deliver.ts';
import type { SendResult } from '../../src/webhooks/send.ts';
import { Crash, CrashingStore } from '../helpers/crashing-store.ts';
import { answer, event, finishedJob, openWebhooks, type Sent } from './helpers.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const URL = 'https://example.com/hooks';

type Opened = Awaited<ReturnType<typeof openWebhooks>>;

describe('webhook delivery', () => {
  let respond: (sent: Sent) => SendResult | Promise<SendResult>;
  let hooks: Opened;

  beforeEach(async () => {
    respond = () => answer(200);
    hooks = await openWebhooks((sent) => respond(sent));
  });
  afterEach(() => hooks.stop());

  const addEndpoint = (changes: object = {}) =>
    hooks.service.createEndpoint('acme', { url: URL, description: '', ...changes });

  it('tells each endpoint of the tenant that a job is over, signed with its own secret', async () => {
    const first = await addEndpoint();
    const second = await addEndpoint({ url: 'https://example.com/other' });
    await hooks.service.createEndpoint('other', { url: 'https://example.com/not-this', description: '' });
    const job = finishedJob();
    const over = event('job.succeeded');
    await hooks.onEvent(job, over);
    await hooks.run();
    assert.deepEqual(hooks.sent.map(({ url }) => url).sort(), [URL, 'https://example.com/other']);
    for (const [endpoint, other] of [
      [first, second],
      [second, first],
    ] as const) {
      const sent = hooks.sent.find(({ url }) => url === endpoint.url);
      assert.ok(sent !== undefined);
      const body = new Webhook(endpoint.secret ?? '').verify(sent.body, sent.headers);
      assert.deepEqual(body, {
        type: 'job.succeeded',
        timestamp: over.at,
        data: JSON.parse(JSON.stringify(jobView(job, null))) as unknown,
      });
      assert.throws(() => new Webhook(other.secret ?? '').verify(sent.body, sent.headers));
    }
    const [delivery] = await hooks.log(first.id);
    assert.equal(delivery?.status, 'delivered');
    assert.equal(delivery.webhookId, hooks.sent[0]?.headers['webhook-id']);
    assert.deepEqual(
      delivery.attempts.map(({ status, error }) => [status, error]),
      [[200, null]],
    );
  });

  it('W21, W24 shows nothing of body, secret or answer in the log, and makes ids without dots', async () => {
    const { id, secret = '' } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.failed'));
    respond = () => answer(500);
    await hooks.run();
    const log = JSON.stringify(await hooks.log(id));
    assert.ok(!log.includes(secret) && !log.includes('links') && !log.includes('lease'), log);
    assert.match(hooks.sent[0]?.headers['webhook-id'] ?? '', /^msg_[0-9a-z]+$/);
  });

  it('sends what ends a job by default, and what the filter names otherwise', async () => {
    await addEndpoint();
    await addEndpoint({ url: 'https://example.com/filtered', events: ['job.running', 'job.failed'] });
    const webhook = { url: 'https://example.com/job', events: ['job.queued' as const] };
    for (const type of ['job.queued', 'job.running', 'job.step', 'job.progress', 'job.canceled'] as const)
      await hooks.onEvent(finishedJob({ webhook }), event(type));
    await hooks.run();
    const types = hooks.sent.map(({ url, body }) => [url, (JSON.parse(body) as { type: string }).type].join(' '));
    assert.deepEqual(types.sort(), [
      'https://example.com/filtered job.running',
      'https://example.com/hooks job.canceled',
      'https://example.com/job job.queued',
    ]);
  });

  it('sends progress at most each 500 ms and job, once', async () => {
    const { id } = await addEndpoint({ events: ['job.progress', 'job.step', 'job.succeeded'] });
    const [job, other] = [finishedJob(), finishedJob()];
    for (let n = 0; n < 5; n++) await hooks.onEvent(job, event(n % 2 === 0 ? 'job.progress' : 'job.step', 10 + n));
    await hooks.onEvent(other, event('job.progress', 10));
    await hooks.onEvent(job, event('job.succeeded', 20));
    hooks.clock.pass(501);
    await hooks.onEvent(job, event('job.progress', 15));
    respond = () => answer(500);
    await hooks.run();
    assert.equal(hooks.sent.length, 4);
    const givenUp = (await hooks.log(id)).map(({ type, status }) => `${type} ${status}`).sort();
    assert.deepEqual(givenUp, [...Array<string>(3).fill('job.progress failed'), 'job.succeeded pending']);
  });

  it('signs the webhook a job names with the secret of the tenant, during a rotation with both', async () => {
    const webhook = { url: 'https://example.com/job' };
    const before = await hooks.service.secret('acme');
    assert.deepEqual(await hooks.service.secret('acme'), before);
    const after = await hooks.service.rotateSecret('acme');
    assert.notEqual(after.secret, before.secret);
    await hooks.onEvent(finishedJob({ webhook }), event('job.succeeded'));
    await hooks.run();
    const [sent] = hooks.sent;
    assert.equal(sent?.url, webhook.url);
    for (const { secret } of [before, after]) new Webhook(secret).verify(sent.body, sent.headers);
    assert.equal(sent.headers['webhook-signature']?.split(' ').length, 2);
    hooks.clock.pass(DAY + 1);
    await hooks.onEvent(finishedJob({ webhook }), event('job.succeeded'));
    await hooks.run();
    assert.equal(hooks.sent[1]?.headers['webhook-signature']?.split(' ').length, 1);
    assert.equal((await hooks.service.secret('acme')).previousSecretValidUntil, null);
    const other = await hooks.service.secret('other');
    assert.notEqual(other.secret, after.secret);
  });

  it('makes ten attempts in 75 to 76 hours: one id, one body, new timestamps', async () => {
    respond = () => answer(500);
    const { id } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    const start = hooks.clock.now();
    let last = start;
    for (let round = 0; round < 20; round++) {
      const before = hooks.sent.length;
      await hooks.run();
      if (hooks.sent.length > before) last = hooks.clock.now();
      const [delivery] = await hooks.log(id);
      if (delivery?.nextAttemptAt == null) break;
      hooks.clock.pass(Date.parse(delivery.nextAttemptAt) - hooks.clock.now() - 1000);
      await hooks.run();
      assert.equal(hooks.sent.length, delivery.attempts.length, 'nothing is sent before it is due');
      hooks.clock.pass(1001);
    }
    assert.equal(hooks.sent.length, 10);
    assert.ok(last - start >= 75 * HOUR && last - start <= 76 * HOUR, `${(last - start) / HOUR} h`);
    assert.equal(new Set(hooks.sent.map(({ headers }) => headers['webhook-id'])).size, 1);
    assert.equal(new Set(hooks.sent.map(({ body }) => body)).size, 1);
    assert.equal(new Set(hooks.sent.map(({ headers }) => headers['webhook-timestamp'])).size, 10);
    const [delivery] = await hooks.log(id);
    assert.deepEqual([delivery?.status, delivery?.givenUp], ['failed', 'attempts-used']);
    hooks.clock.pass(DAY);
    await hooks.run();
    assert.equal(hooks.sent.length, 10);
  });

  it('W19 waits as long as Retry-After asks, a day at most, where the status is about load', async () => {
    for (const [status, retryAfter, expected] of [
      [429, '600', 600_000],
      [503, '1000000000', DAY],
      [502, '1', 5_000],
      [504, 'soon', 5_000],
      [500, '600', 5_000],
      [302, '600', 5_000],
    ] as const) {
      respond = () => answer(status, retryAfter);
      const { id } = await addEndpoint();
      await hooks.onEvent(finishedJob(), event('job.succeeded'));
      await hooks.run();
      const [delivery] = await hooks.log(id);
      const waits = Date.parse(delivery?.nextAttemptAt ?? '') - hooks.clock.now();
      assert.ok(Math.abs(waits - expected) < 1_500, `${status} ${retryAfter}: ${waits}`);
      await hooks.service.removeEndpoint('acme', id);
    }
  });

  it('W19 gives up at 410 and disables the endpoint', async () => {
    respond = () => answer(410);
    const { id } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await hooks.run();
    const endpoint = await hooks.service.getEndpoint('acme', id);
    assert.deepEqual([endpoint.enabled, endpoint.disabledReason], [false, 'gone']);
    assert.equal((await hooks.log(id))[0]?.givenUp, 'gone');
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    assert.equal((await hooks.log(id)).length, 1);
    await assert.rejects(hooks.service.test('acme', id), { code: 'CONFLICT' });
    await hooks.service.changeEndpoint('acme', id, { enabled: true });
    await hooks.service.test('acme', id);
  });

  it('disables an endpoint after five days of failures alone, not when one came through', async () => {
    respond = ({ url }) => answer(url.endsWith('/dead') || hooks.sent.length % 8 !== 0 ? 500 : 200);
    const dead = await addEndpoint({ url: 'https://example.com/dead' });
    const shaky = await addEndpoint();
    const enabledAfter = async (hours: number) => {
      const until = hooks.clock.now() + hours * HOUR;
      while (hooks.clock.now() < until) {
        await hooks.onEvent(finishedJob(), event('job.succeeded'));
        await hooks.run();
        hooks.clock.pass(6 * HOUR);
      }
      const states = [dead, shaky].map(async ({ id }) => (await hooks.service.getEndpoint('acme', id)).disabledReason);
      return Promise.all(states);
    };
    assert.deepEqual(await enabledAfter(114), [null, null]);
    assert.deepEqual(await enabledAfter(12), ['failing', null]);
    hooks.clock.pass(DAY);
    await hooks.run();
    assert.ok((await hooks.log(dead.id)).some(({ givenUp }) => givenUp === 'endpoint-disabled'));
    assert.match(await hooks.metrics.metrics(), /tersor_webhook_endpoints_disabled_total\{reason="failing"\} 1/);
  });

  it('gives up what waits for an endpoint that is deleted', async () => {
    respond = () => answer(500);
    const { id } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await hooks.run();
    await hooks.service.removeEndpoint('acme', id);
    hooks.clock.pass(MINUTE);
    await hooks.run();
    assert.equal(hooks.sent.length, 1);
    assert.match(await hooks.metrics.metrics(), /tersor_webhook_deliveries_pending 0/);
  });

  it('makes one delivery of an event that is told twice, also by two processes', async () => {
    const { id } = await addEndpoint();
    const job = finishedJob();
    const over = event('job.succeeded');
    const other = hooks.make();
    await Promise.all([hooks.onEvent(job, over), other.onEvent(job, over)]);
    await Promise.all([hooks.run(), hooks.run(other)]);
    await hooks.onEvent(job, over);
    await hooks.run();
    assert.equal(hooks.sent.length, 1);
    assert.equal((await hooks.log(id)).length, 1);
  });

  it('has each delivery sent by one of several processes', async () => {
    await addEndpoint();
    for (let n = 0; n < 20; n++) await hooks.onEvent(finishedJob(), event('job.succeeded'));
    const processes = [hooks, hooks.make(), hooks.make(), hooks.make()];
    for (let round = 0; round < 8; round++) await Promise.all(processes.map((each) => hooks.run(each)));
    assert.equal(new Set(hooks.sent.map(({ headers }) => headers['webhook-id'])).size, 20);
    assert.equal(hooks.sent.length, 20);
  });

  it('goes on under the same webhook-id after a process died in the middle of an attempt', async () => {
    const { id } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    const reached: string[] = [];
    let asked: (() => void) | undefined;
    const started = new Promise<void>((done) => (asked = done));
    const dying = hooks.make({
      send: ({ headers }) => {
        reached.push(headers['webhook-id'] ?? '');
        asked?.();
        return new Promise<never>(() => undefined);
      },
    });
    await dying.dispatcher.sweep();
    await started;
    await hooks.run();
    assert.equal(hooks.sent.length, 0, 'the lease of the other one holds');
    hooks.clock.pass(LEASE_MS + 1);
    await hooks.run();
    assert.deepEqual(
      hooks.sent.map(({ headers }) => headers['webhook-id']),
      reached,
    );
    assert.equal((await hooks.log(id))[0]?.status, 'delivered');
  });

  it('loses no delivery wherever a process dies while making or attempting it', async () => {
    const { id } = await addEndpoint();
    let finished = 0;
    for (let fatal = 1; fatal <= 12; fatal++) {
      for (const when of ['before', 'after'] as const) {
        const job = finishedJob();
        const over = event('job.succeeded');
        // The first attempt fails, so that a marker is moved to a next due time; then one comes through.
        let attempts = 0;
        respond = () => answer(attempts++ === 0 ? 500 : 200);
        const mortal = new CrashingStore(hooks.store, fatal, when);
        const dying = hooks.make({ store: mortal });
        try {
          await dying.onEvent(job, over);
          await hooks.run(dying);
          hooks.clock.pass(6_000);
          await hooks.run(dying);
        } catch (error) {
          assert.ok(error instanceof Crash, String(error));
        }
        if (!mortal.dead) finished += 1;
        // Whoever is alive: the event is told until that works, then deliveries go on once the lease is over.
        await hooks.onEvent(job, over);
        for (let round = 0; round < 3; round++) {
          hooks.clock.pass(LEASE_MS + 1);
          await hooks.run();
        }
        const [delivery] = await hooks.log(id);
        assert.equal(delivery?.job, job.id);
        assert.equal(delivery.status, 'delivered', `died ${when} write ${fatal}`);
      }
    }
    assert.ok(finished > 0, 'the last cases must get to the end without dying, or some write was not tried');
    hooks.clock.pass(HOUR);
    await hooks.run();
    assert.deepEqual(await hooks.store.list('webhooks/due/'), [], 'no marker is left over');
  });

  it('sends a message once more as a new delivery with the same webhook-id and body', async () => {
    const { id } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await hooks.run();
    const [original] = await hooks.log(id);
    const again = await hooks.service.redeliver('acme', id, original?.id ?? '');
    assert.equal(again.redeliveryOf, original?.id);
    await hooks.run();
    const [first, second] = hooks.sent;
    assert.equal(second?.headers['webhook-id'], first?.headers['webhook-id']);
    assert.equal(second?.body, first?.body);
    assert.deepEqual(
      (await hooks.log(id)).map(({ id: delivery, status }) => [delivery, status]),
      [
        [again.id, 'delivered'],
        [original?.id, 'delivered'],
      ],
    );
    await assert.rejects(hooks.service.redeliver('acme', id, 'dlv_0000000000000000'), { code: 'NOT_FOUND' });
    await assert.rejects(hooks.service.redeliver('other', id, again.id), { code: 'NOT_FOUND' });
  });

  it('forgets deliveries thirty days after their end', async () => {
    const { id } = await addEndpoint();
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await hooks.run();
    hooks.clock.pass(29 * DAY);
    await hooks.run();
    assert.equal((await hooks.log(id)).length, 1);
    hooks.clock.pass(DAY + HOUR);
    await hooks.run();
    assert.equal((await hooks.log(id)).length, 0);
    assert.deepEqual(await hooks.store.list('webhooks/'), []);
  });

  it('counts attempts and deliveries', async () => {
    await addEndpoint();
    respond = () => answer(500);
    await hooks.onEvent(finishedJob(), event('job.succeeded'));
    await hooks.run();
    const metrics = await hooks.metrics.metrics();
    assert.match(metrics, /tersor_webhook_attempt_seconds_count\{outcome="http-status"\} 1/);
    assert.match(metrics, /tersor_webhook_deliveries_pending 1/);
    respond = () => answer(204);
    hooks.clock.pass(7_000);
    await hooks.run();
    assert.match(await hooks.metrics.metrics(), /tersor_webhook_delivery_seconds_count\{outcome="delivered"\} 1/);
  });
});
