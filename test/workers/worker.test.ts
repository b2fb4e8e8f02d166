import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { Report } from '../../src/schemas/report.ts';
import { childrenOfThisProcess, gone } from '../helpers/job-children.ts';
import { EXAMPLE, FASHION, WorkerService } from '../helpers/worker-service.ts';

/** Within the 5 s that a cancel may take, and sooner than a heartbeat would find it. */
const TOLD_MS = 3000;

const dynamic = { version: 1 as const, steps: [{ pass: 'quantize.dynamic' }] };

describe('worker', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
  });
  after(() => service.stop());

  it('runs a job to an artifact, a report and a summary', async () => {
    const evaluation = await service.uploadDataset(`${EXAMPLE}/evaluation.npz`);
    const submitted = await service.submit({
      model: model.id,
      recipe: dynamic,
      inputs: { model: model.sha256, evaluation: evaluation.sha256 },
      data: { evaluation: { dataset: evaluation.id, samples: 200 } },
      preprocess: { ...FASHION },
    });
    const record = await service.finished(submitted.id);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    assert.equal(record.attempt, 1);
    const artifact = await service.artifact(record, 'model.onnx');
    assert.ok(artifact.length < 320_580 / 2);
    assert.deepEqual(
      decodeModel(artifact).graph.inputs.map(({ name }) => name),
      ['input'],
    );
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    assert.equal(report.steps.at(-1)?.pass, 'quantize.dynamic');
    assert.equal(record.summary?.bytes.after, artifact.length);
    assert.ok((record.summary.accuracy.after ?? 0) > 0.85);
    const html = (await service.artifact(record, 'report.html')).toString('utf8');
    assert.match(html, /<!doctype html>/i);
    // The last event follows the record: a job that is over is told of at once, but not in the same write.
    let types: string[] = [];
    for (let tries = 0; tries < 100 && types.at(-1) !== 'job.succeeded'; tries += 1) {
      if (tries > 0) await delay(20);
      types = (await service.jobs.service.events('default', record.id, 0)).map(({ type }) => type);
    }
    assert.equal(types[0], 'job.queued');
    assert.equal(types.at(-1), 'job.succeeded');
    assert.ok(types.includes('job.step'));
  });

  it('gives the same artifact bytes for the same request', async () => {
    const request = { model: model.id, recipe: dynamic, inputs: { model: model.sha256 } };
    const first = await service.finished((await service.submit(request)).id);
    const second = await service.finished((await service.submit(request)).id);
    assert.deepEqual(await service.artifact(first, 'model.onnx'), await service.artifact(second, 'model.onnx'));
  });

  it('cancels in the middle of a step, told and not found out, and leaves no child', async () => {
    const job = await service.submit({ model: model.id, recipe: dynamic, inputs: { model: model.sha256 } });
    await service.until(job.id, (record) => record.status === 'running' && record.progress > 0);
    const [child] = childrenOfThisProcess();
    assert.ok(child !== undefined, 'no child runs');
    const asked = performance.now();
    await service.jobs.service.cancel('default', job.id);
    const record = await service.finished(job.id, 10_000);
    assert.equal(record.status, 'canceled');
    assert.ok(performance.now() - asked < TOLD_MS);
    assert.equal(record.error, null);
    await gone([child]);
  });

  it('is told of a cancel that comes between its claim and its start', async () => {
    const canceled = await WorkerService.start([1, 2], {
      afterClaim: async ({ record }) => {
        await canceled.jobs.service.cancel('default', record.id);
      },
    });
    try {
      const { id, sha256 } = await canceled.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
      const asked = performance.now();
      const job = await canceled.submit({ model: id, recipe: dynamic, inputs: { model: sha256 } });
      assert.equal((await canceled.finished(job.id, 10_000)).status, 'canceled');
      assert.ok(performance.now() - asked < TOLD_MS);
    } finally {
      await canceled.stop();
    }
  });

  it('ends a job at its deadline', async () => {
    const job = await service.submit({
      model: model.id,
      recipe: dynamic,
      inputs: { model: model.sha256 },
      deadlineSeconds: 1,
    });
    const record = await service.finished(job.id, 15_000);
    assert.equal(record.status, 'failed');
    assert.equal(record.error?.code, 'LIMIT_TIME');
  });

  it('cancels within 5 s, and says what it does, while the kernels of the CPU are measured', async () => {
    const unmeasured = await WorkerService.start([]);
    try {
      const { id, sha256 } = await unmeasured.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
      const job = await unmeasured.submit({ model: id, recipe: dynamic, inputs: { model: sha256 } });
      const messages = async (): Promise<unknown[]> =>
        (await unmeasured.jobs.service.events('default', job.id, 0)).map(({ data }) => data['message']);
      while (!(await messages()).some((message) => String(message).includes('measuring the kernels'))) await delay(20);
      const measuring = childrenOfThisProcess();
      const asked = performance.now();
      await unmeasured.jobs.service.cancel('default', job.id);
      const record = await unmeasured.finished(job.id, 10_000);
      assert.ok(performance.now() - asked < 5000);
      assert.equal(record.status, 'canceled');
      assert.equal(record.costTable, null, 'the measurement was over before the cancel: this shows nothing');
      // One child stays: the spare of either worker waits for its next job.
      await gone(measuring, 2);
    } finally {
      await unmeasured.stop();
    }
  });

  it('resumes after its child was killed, to the same bytes', async () => {
    const request = { model: model.id, recipe: dynamic, inputs: { model: model.sha256 } };
    const undisturbed = await service.finished((await service.submit(request)).id);
    const job = await service.submit(request);
    await service.until(job.id, (record) => record.checkpoint !== null);
    for (const pid of childrenOfThisProcess()) process.kill(pid, 'SIGKILL');
    const record = await service.finished(job.id);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    assert.equal(record.attempt, 2);
    assert.deepEqual(await service.artifact(record, 'model.onnx'), await service.artifact(undisturbed, 'model.onnx'));
  });

  it('starts from a fresh network of the zoo, the same one for the same seed', async () => {
    const request = {
      model: { architecture: 'resnet', depth: 8, classes: 10, inputSize: 32 },
      recipe: dynamic,
      inputs: {},
    };
    const first = await service.finished((await service.submit(request)).id);
    assert.equal(first.status, 'succeeded', JSON.stringify(first.error));
    const second = await service.finished((await service.submit(request)).id);
    const other = await service.finished((await service.submit({ ...request, seed: 1 })).id);
    const bytes = await service.artifact(first, 'model.onnx');
    assert.deepEqual(bytes, await service.artifact(second, 'model.onnx'));
    assert.notDeepEqual(bytes, await service.artifact(other, 'model.onnx'));
  });

  it('fails a job whose model ONNX Runtime cannot run, and goes on', async () => {
    const job = await service.submit({
      model: model.id,
      recipe: { version: 1, steps: [{ pass: 'quantize.dynamic', exclude: ['no-such-node'] }] },
      inputs: { model: model.sha256 },
    });
    const record = await service.finished(job.id);
    assert.equal(record.status, 'failed');
    assert.equal(record.error?.code, 'RECIPE_NO_MATCH');
    assert.equal(record.error.step, 0, 'the index in the recipe that was sent');
    assert.match(record.error.message, /no-such-node/);
  });
});
