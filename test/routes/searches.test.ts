import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { attemptMetrics } from '../../src/plugins/job-metrics.ts';
import type { Problem } from '../../src/schemas/common.ts';
import type { Job } from '../../src/schemas/job.ts';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { finishJob } from '../helpers/finished-job.ts';
import { npy } from './npy-bytes.ts';
import { addModel } from '../helpers/onnx-bytes.ts';
import { logOf, specOf } from '../helpers/searches.ts';

const STEP = {
  pass: 'search.compression',
  steps: [{ pass: 'prune.channels', macsRatio: { search: [0.5, 0.8] } }],
  objectives: ['bytes'],
};
const TRIAL_FILES = [
  { name: 'model.onnx', kind: 'model' as const, contentType: 'application/octet-stream' },
  { name: 'trial.json', kind: 'sidecar' as const, contentType: 'application/json' },
];
const TRIAL_CONTENTS = {
  'model.onnx': Buffer.from('model'),
  'trial.json': Buffer.from(JSON.stringify({ status: 'succeeded', bytes: 5 })),
};

describe('searches over HTTP', () => {
  let test: TestApp;
  let model: string;
  let dataset: string;
  const get = (url: string) => test.app.inject({ url });
  const idsAt = async (url: string): Promise<string[]> => {
    const response = await get(url);
    assert.equal(response.statusCode, 200, response.body);
    return response.json<{ items: Job[] }>().items.map(({ id }) => id);
  };
  /** A search that waits for two trials. */
  const waiting = async (): Promise<{ id: string; trials: readonly string[] }> => {
    const payload = { model, recipe: { steps: [STEP] }, data: { evaluation: { dataset } } };
    const response = await test.app.inject({ method: 'POST', url: '/v1/jobs', payload });
    assert.equal(response.statusCode, 202, response.body);
    const { id } = response.json<Job>();
    const attempt = await test.jobs.claims.claim(id, 'worker');
    await attempt?.pinCostTable('table');
    const seed = Math.floor(Number.parseInt(id.slice(-6), 36)); // its own trials, not those of another test
    await attempt?.waitForTrials(logOf(specOf(1, { seed }), specOf(2, { seed })));
    return { id, trials: await idsAt(`/v1/jobs?parent=${id}`) };
  };
  before(async () => {
    test = await startApp({ WEBHOOK_ALLOW_HTTP: 'true', WEBHOOK_ALLOW_PRIVATE: 'true' });
    const headers = { 'content-type': 'application/octet-stream' };
    const upload = async (url: string, payload: Buffer): Promise<string> =>
      (await test.app.inject({ method: 'POST', url, headers, payload })).json<{ id: string }>().id;
    model = await upload('/v1/models', addModel());
    dataset = await upload('/v1/datasets', npy([10, 4]));
  });
  after(() => test.close());

  it('show how many trials they asked for, and trials whose they are', async () => {
    const { id, trials } = await waiting();
    const job = (await get(`/v1/jobs/${id}`)).json<Job>();
    assert.deepEqual([job.status, job.trials, job.queuePosition], ['running', { asked: 2, done: 0 }, null]);
    assert.equal(job.parent, undefined);
    const trial = (await get(`/v1/jobs/${trials[0] ?? ''}`)).json<Job>();
    assert.deepEqual([trial.status, trial.parent, trial.trials], ['queued', id, undefined]);
    assert.equal(typeof trial.queuePosition, 'number');
  });

  it('are listed without their trials, which are there for whoever asks', async () => {
    const { id, trials } = await waiting();
    assert.equal(trials.length, 2);
    const jobs = await idsAt('/v1/jobs?limit=100');
    assert.ok(jobs.includes(id) && trials.every((trial) => !jobs.includes(trial)));
    const all = await idsAt('/v1/jobs?trials=true&limit=100');
    assert.ok(!all.includes(id) && trials.every((trial) => all.includes(trial)));
    assert.deepEqual(await idsAt(`/v1/jobs?parent=${id}&limit=1`), trials.slice(0, 1));
    assert.deepEqual(await idsAt(`/v1/jobs?parent=${id}&status=succeeded`), []);
    assert.equal((await get('/v1/jobs?parent=job_0123456789abcdef')).statusCode, 404);
    assert.equal((await get('/v1/jobs?parent=x')).statusCode, 400);
    assert.equal((await get('/v1/jobs?trials=1')).statusCode, 400);
  });

  it('have trials without a report: said so, with where the figures are', async () => {
    const { trials } = await waiting();
    const [id = ''] = trials;
    assert.equal((await get(`/v1/jobs/${id}/report`)).json<Problem>().code, 'NOT_READY');
    await finishJob(test, id, TRIAL_FILES, TRIAL_CONTENTS);
    for (const format of ['json', 'html']) {
      const response = await get(`/v1/jobs/${id}/report?format=${format}`);
      assert.equal(response.statusCode, 404, response.body);
      assert.match(response.json<Problem>().detail, /is a trial.*trial\.json has the figures/);
    }
    const figures = await get(`/v1/jobs/${id}/artifacts/trial.json`);
    assert.deepEqual(figures.json(), { status: 'succeeded', bytes: 5 });
  });

  it('canceled with something found, have artifacts and report; without, they say so', async () => {
    const { id, trials } = await waiting();
    await finishJob(test, trials[0] ?? '', TRIAL_FILES, TRIAL_CONTENTS);
    const canceled = await test.app.inject({ method: 'POST', url: `/v1/jobs/${id}/cancel` });
    assert.equal(canceled.json<Job>().status, 'canceling');
    assert.equal((await get(`/v1/jobs/${id}/report`)).json<Problem>().code, 'NOT_READY');
    const report = { name: 'report.json', kind: 'report-json' as const, contentType: 'application/json' };
    await finishJob(test, id, [...TRIAL_FILES.slice(0, 1), report], { 'report.json': Buffer.from('{"a":1}') });
    const over = (await get(`/v1/jobs/${id}`)).json<Job>();
    assert.equal(over.status, 'canceled');
    assert.notEqual(over.summary, null);
    assert.equal((await get(`/v1/jobs/${id}/report`)).body, '{"a":1}');
    assert.equal((await get(`/v1/jobs/${id}/artifacts/model.onnx`)).statusCode, 200);

    const other = await waiting();
    await test.app.inject({ method: 'POST', url: `/v1/jobs/${other.id}/cancel` });
    const attempt = await test.jobs.claims.claim(other.id, 'worker');
    await attempt?.fail({ code: 'LIMIT_TIME', message: 'nothing found', step: 0, retryable: false });
    const nothing = await get(`/v1/jobs/${other.id}/report`);
    assert.equal(nothing.statusCode, 409);
    assert.match(nothing.json<Problem>().detail, /was canceled: it has no results/);
  });

  it('are removed with their trials', async () => {
    const { id, trials } = await waiting();
    const busy = await test.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` });
    assert.equal(busy.statusCode, 409);
    assert.match(busy.json<Problem>().detail, /is running/);
    for (const trial of trials) await finishJob(test, trial, TRIAL_FILES, TRIAL_CONTENTS);
    await finishJob(test, id, TRIAL_FILES.slice(0, 1), {});
    assert.equal((await test.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` })).statusCode, 204);
    for (const trial of trials) assert.equal((await get(`/v1/jobs/${trial}`)).statusCode, 404);
  });

  it('keep their model from being deleted while they wait', async () => {
    const { id } = await waiting();
    const busy = await test.app.inject({ method: 'DELETE', url: `/v1/models/${model}` });
    assert.equal(busy.json<Problem>().code, 'IN_USE');
    await test.app.inject({ method: 'POST', url: `/v1/jobs/${id}/cancel` });
  });

  it('tell webhooks of themselves, and nothing of their trials', async () => {
    const payload = {
      url: 'http://127.0.0.1:9/hook',
      events: ['job.queued', 'job.running', 'job.succeeded', 'job.failed', 'job.canceled'],
    };
    const created = await test.app.inject({ method: 'POST', url: '/v1/webhook-endpoints', payload });
    assert.equal(created.statusCode, 201, created.body);
    const endpoint = created.json<{ id: string }>().id;
    const { id, trials } = await waiting();
    for (const trial of trials) await finishJob(test, trial, TRIAL_FILES, TRIAL_CONTENTS);
    await finishJob(test, id, TRIAL_FILES.slice(0, 1), {});
    const told = async (): Promise<{ type: string; job: string }[]> =>
      (await get(`/v1/webhook-endpoints/${endpoint}/deliveries?limit=100`)).json<{
        items: { type: string; job: string }[];
      }>().items;
    for (let tries = 0; tries < 250 && !(await told()).some(({ type }) => type === 'job.succeeded'); tries += 1)
      await delay(20);
    const types = (await told()).map(({ type, job }) => [job, type].join(' ')).toSorted();
    assert.deepEqual(types, [`${id} job.queued`, `${id} job.running`, `${id} job.succeeded`]);
  });
});

it('attempts of searches are told apart in the metrics', async () => {
  const registry = new Registry();
  const count = attemptMetrics(registry);
  for (const outcome of ['waiting', 'waiting', 'ready', 'succeeded'])
    count({ outcome, seconds: 1, passes: ['search.compression'] });
  const text = await registry.metrics();
  assert.match(text, /tersor_job_attempt_seconds_count\{pass="search\.compression",outcome="waiting"\} 2/);
  assert.match(text, /tersor_job_attempt_seconds_count\{pass="search\.compression",outcome="ready"\} 1/);
});
