import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { parseEvents, type ServerSentEvent } from '../../src/client/server-sent-events.ts';
import type { Job } from '../../src/schemas/job.ts';
import { finishJob } from '../helpers/finished-job.ts';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { addModel } from '../helpers/onnx-bytes.ts';

describe('GET /v1/jobs/{id}/events', () => {
  let test: TestApp;
  let base: string;
  let model: string;
  before(async () => {
    test = await startApp();
    await test.app.listen({ port: 0, host: '127.0.0.1' });
    base = `http://127.0.0.1:${(test.app.server.address() as AddressInfo).port}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const upload = await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload: addModel() });
    model = upload.json<{ id: string }>().id;
  });
  after(() => test.close());

  const createJob = async (): Promise<string> => {
    const payload = { model, recipe: 'int8-dynamic' };
    return (await test.app.inject({ method: 'POST', url: '/v1/jobs', payload })).json<Job>().id;
  };
  const collect = async (id: string, headers: Record<string, string> = {}): Promise<ServerSentEvent[]> => {
    const response = await fetch(`${base}/v1/jobs/${id}/events`, { headers });
    assert.equal(response.status, 200);
    assert.match(String(response.headers.get('content-type')), /^text\/event-stream/);
    const events: ServerSentEvent[] = [];
    if (response.body !== null) for await (const event of parseEvents(response.body)) events.push(event);
    return events;
  };

  it('sends what happened and what happens, and ends with the job', async () => {
    const id = await createJob();
    const collected = collect(id);
    // The stream is open while the job runs: the events must come through waitForChange, not from one reading.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await finishJob(test, id, [], {});
    const events = await collected;
    assert.deepEqual(
      events.map(({ type }) => type),
      ['job.queued', 'job.running', 'job.step', 'job.succeeded'],
    );
    assert.deepEqual(
      events.map((event) => Number(event.id)),
      [1, 2, 3, 4],
    );
    const last = JSON.parse(events[3]?.data ?? '') as { type: string; at: string };
    assert.equal(last.type, 'job.succeeded');
    assert.match(last.at, /Z$/);
  });

  it('resumes after Last-Event-ID, and ends at once when there is nothing left', async () => {
    const id = await createJob();
    await finishJob(test, id, [], {});
    const rest = await collect(id, { 'last-event-id': '2' });
    assert.deepEqual(
      rest.map(({ type }) => type),
      ['job.step', 'job.succeeded'],
    );
    assert.deepEqual(await collect(id, { 'last-event-id': '4' }), []);
  });

  it('ends when the job is canceled', async () => {
    const id = await createJob();
    const collected = collect(id);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await test.app.inject({ method: 'POST', url: `/v1/jobs/${id}/cancel` });
    assert.equal((await collected).at(-1)?.type, 'job.canceled');
  });

  it('forgets a client that goes away', async () => {
    const id = await createJob();
    const controller = new AbortController();
    const response = await fetch(`${base}/v1/jobs/${id}/events`, { signal: controller.signal });
    assert.equal(response.status, 200);
    controller.abort();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const metrics = await test.app.inject({ url: '/metrics' });
    // The scrape itself is the one in flight.
    assert.match(metrics.body, /tersor_http_requests_in_flight 1\n/);
  });

  it('ends open streams when the service stops, so that stopping does not wait for them', async () => {
    const own = await startApp();
    const headers = { 'content-type': 'application/octet-stream' };
    const upload = await own.app.inject({ method: 'POST', url: '/v1/models', headers, payload: addModel() });
    const payload = { model: upload.json<{ id: string }>().id, recipe: 'int8-dynamic' };
    const { id } = (await own.app.inject({ method: 'POST', url: '/v1/jobs', payload })).json<Job>();
    await own.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = own.app.server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}/v1/jobs/${id}/events`);
    const reading = response.text();
    const started = performance.now();
    await own.close();
    assert.match(await reading, /event: job.queued/);
    assert.ok(performance.now() - started < 3000);
  });
});
