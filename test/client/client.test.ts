import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TersorClient } from '../../src/client/client.ts';
import { TersorError } from '../../src/client/errors.ts';
import { parseEvents } from '../../src/client/server-sent-events.ts';
import { finishJob } from '../helpers/finished-job.ts';
import { keyHash, startApp, type TestApp } from '../helpers/http-app.ts';
import { addModel } from '../helpers/onnx-bytes.ts';
import { logOf, specOf } from '../helpers/searches.ts';
import { npy } from '../routes/npy-bytes.ts';

const refusal = async (call: Promise<unknown>): Promise<TersorError> => {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof TersorError, String(error));
    return error;
  }
  return assert.fail('was not refused');
};

describe('TersorClient', () => {
  let test: TestApp;
  let client: TersorClient;
  let baseUrl: string;
  before(async () => {
    test = await startApp({ API_KEYS: `acme:${keyHash('secret')},zeta:${keyHash('other')}` });
    await test.app.listen({ port: 0, host: '127.0.0.1' });
    baseUrl = `http://127.0.0.1:${(test.app.server.address() as AddressInfo).port}`;
    client = new TersorClient({ baseUrl, apiKey: 'secret' });
  });
  after(() => test.close());

  it('uploads, runs, follows and downloads', async () => {
    const path = join(test.folder, 'model.onnx');
    await writeFile(path, addModel());
    const model = await client.uploadModel({ path });
    assert.deepEqual(await client.uploadModel(addModel()), model);
    assert.deepEqual((await client.listModels()).items, [model]);
    const dataset = await client.uploadDataset(npy([6, 4]), { name: 'six samples' });
    assert.equal(dataset.name, 'six samples');
    assert.equal((await client.getDataset(dataset.id)).samples, 6);

    const request = { model: model.id, recipe: 'int8-dynamic' as const };
    assert.ok((await client.dryRun(request)).plan.length >= 1);
    const job = await client.createJob(request, { idempotencyKey: 'one' });
    assert.equal((await client.createJob(request, { idempotencyKey: 'one' })).id, job.id);

    const types: string[] = [];
    const waiting = client.waitForJob(job.id, { onEvent: ({ type }) => types.push(type) });
    const bytes = Buffer.from('smaller');
    await finishJob(
      test,
      job.id,
      [
        { name: 'model.onnx', kind: 'model', contentType: 'application/octet-stream' },
        { name: 'report.json', kind: 'report-json', contentType: 'application/json' },
      ],
      { 'model.onnx': bytes, 'report.json': Buffer.from('{"version":1}') },
    );
    const done = await waiting;
    assert.equal(done.status, 'succeeded');
    assert.equal(types.at(0), 'job.queued');
    assert.equal(types.at(-1), 'job.succeeded');
    assert.deepEqual(
      (await client.artifacts(job.id)).map(({ name }) => name),
      ['model.onnx', 'report.json'],
    );
    const target = join(test.folder, 'out.onnx');
    assert.equal((await client.downloadArtifact(job.id, 'model.onnx', target)).bytes, bytes.length);
    assert.deepEqual(await readFile(target), bytes);
    assert.deepEqual(await client.report(job.id), { version: 1 });
    await client.deleteJob(job.id);
    assert.equal((await refusal(client.getJob(job.id))).code, 'NOT_FOUND');
  });

  it('lists jobs, and the trials of a search to its own tenant', async () => {
    const model = await client.uploadModel(addModel());
    const { id } = await client.createJob({ model: model.id, recipe: 'int8-dynamic' });
    const attempt = await test.jobs.claims.claim(id, 'worker');
    await attempt?.waitForTrials(logOf(specOf(1), specOf(2)));
    const trials = (await client.listJobs({ parent: id })).items;
    assert.deepEqual(
      trials.map(({ parent, status }) => [parent, status]),
      [1, 2].map(() => [id, 'queued']),
    );
    assert.deepEqual((await client.listJobs({ trials: true, limit: 1 })).items, trials.slice(-1));
    assert.deepEqual(
      (await client.listJobs({ status: 'running' })).items.map((job) => job.id),
      [id],
    );
    const stranger = new TersorClient({ baseUrl, apiKey: 'other' });
    assert.equal((await refusal(stranger.listJobs({ parent: id }))).code, 'NOT_FOUND');
    assert.deepEqual((await stranger.listJobs({ trials: true })).items, []);
  });

  it('names a file that it cannot read, and does not blame the service', async () => {
    const error = await refusal(client.uploadModel({ path: join(test.folder, 'nothing.onnx') }));
    assert.equal(error.code, 'FILE_UNREADABLE');
    assert.match(error.message, /nothing\.onnx.*ENOENT/);
  });

  it('turns problem documents into errors with code, status and places', async () => {
    const error = await refusal(
      client.createJob({ model: 'mdl_0123456789abcdef', recipe: { steps: [{ pass: 'nope' }] } }),
    );
    assert.equal(error.code, 'RECIPE_INVALID');
    assert.equal(error.status, 400);
    assert.equal(error.problem?.errors?.[0]?.pointer, '/recipe/steps/0/pass');
    const anonymous = new TersorClient({ baseUrl });
    assert.equal((await refusal(anonymous.passes())).code, 'UNAUTHENTICATED');
  });

  it('says UNREACHABLE when nobody answers, after its tries', async () => {
    const nobody = new TersorClient({ baseUrl: 'http://127.0.0.1:1', tries: 2 });
    assert.equal((await refusal(nobody.passes())).code, 'UNREACHABLE');
  });
});

describe('TersorClient against a service in trouble', () => {
  it('repeats a GET after 503, but never a job without a key', async () => {
    const calls: string[] = [];
    const server = createServer((request, response) => {
      calls.push(request.method ?? '');
      request.resume();
      if (calls.length % 2 === 1) {
        response.writeHead(503, { 'retry-after': '0', 'content-type': 'application/problem+json' });
        response.end(
          JSON.stringify({ code: 'QUEUE_UNAVAILABLE', detail: 'no answer', status: 503, type: 'x', title: 'x' }),
        );
      } else response.end(JSON.stringify({ items: [], nextCursor: null }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = new TersorClient({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    try {
      assert.deepEqual((await client.passes()).items, []);
      assert.deepEqual(calls, ['GET', 'GET']);
      const error = await refusal(client.createJob({ model: 'mdl_0123456789abcdef', recipe: 'int8-dynamic' }));
      assert.equal(error.code, 'QUEUE_UNAVAILABLE');
      assert.deepEqual(calls, ['GET', 'GET', 'POST']);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('takes up a broken event stream after the last event it saw', async () => {
    const seen: (string | undefined)[] = [];
    const event = (id: number, type: string): string =>
      `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ type, at: '2026-01-01T00:00:00Z' })}\n\n`;
    const server = createServer((request, response) => {
      if (request.url?.endsWith('/events') !== true) {
        response.end(JSON.stringify({ status: seen.length < 2 ? 'running' : 'succeeded' }));
        return;
      }
      seen.push(request.headers['last-event-id'] as string | undefined);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (seen.length === 1) {
        response.write(event(1, 'job.queued') + event(2, 'job.running') + 'id: 3\nevent: job.st');
        setTimeout(() => response.destroy(), 20);
      } else response.end(event(3, 'job.succeeded'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = new TersorClient({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    try {
      const types: string[] = [];
      for await (const { type } of client.events('job_0123456789abcdef')) types.push(type);
      assert.deepEqual(types, ['job.queued', 'job.running', 'job.succeeded']);
      assert.deepEqual(seen, ['0', '2']);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

describe('parseEvents', () => {
  const parse = async (...chunks: (string | Uint8Array)[]) => {
    async function* body(): AsyncGenerator<Uint8Array> {
      for (const chunk of chunks) yield await Promise.resolve(Buffer.from(chunk));
    }
    const events = [];
    for await (const event of parseEvents(body())) events.push(event);
    return events;
  };

  it('puts events together however the bytes are cut', async () => {
    const text = 'retry: 1\n\n: comment\n\nid: 1\nevent: a\ndata: {"x":"é"}\n\nid: 2\nevent: b\ndata: 1\ndata: 2\n\n';
    const whole = [
      { id: '1', type: 'a', data: '{"x":"é"}' },
      { id: '2', type: 'b', data: '1\n2' },
    ];
    assert.deepEqual(await parse(text), whole);
    const bytes = Buffer.from(text);
    assert.deepEqual(await parse(...Array.from(bytes, (byte) => Uint8Array.of(byte))), whole);
    assert.deepEqual(await parse(text.replaceAll('\n', '\r\n')), whole);
  });

  it('drops an event that the end cuts off', async () => {
    assert.deepEqual(await parse('id: 1\ndata: x\n'), []);
  });
});
