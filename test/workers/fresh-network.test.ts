import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { planJob, type PlanningDeps } from '../../src/recipes/plan-job.ts';
import { CreateJob } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { DatasetStore } from '../../src/storage/dataset-store.ts';
import { EXAMPLE, TENANT, WorkerService } from '../helpers/worker-service.ts';

/** Fewer samples and epochs than the page has: what is shown is that the job works, not how well it learns. */
const TRAINING_RANGE = [0, 320];
const EPOCHS = 2;

describe('the job of docs/architectures.md: train a fresh network, then quantize it', () => {
  let service: WorkerService;
  before(async () => {
    service = await WorkerService.start();
  });
  after(() => service.stop());

  it('is accepted as it stands, trains and quantizes in one recipe', async () => {
    const evaluation = await service.uploadDataset(`${EXAMPLE}/evaluation.npz`);
    const calibration = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
    const page = await readFile('docs/architectures.md', 'utf8');
    const written = /`job\.json` is\s+```json\n([^]*?)```/.exec(page)?.[1] ?? '';
    const text = written
      .replaceAll('dst_of_evaluation_npz', evaluation.id)
      .replaceAll('dst_of_calibration_npz', calibration.id)
      .replace('[0, 1500]', JSON.stringify(TRAINING_RANGE))
      .replace('"epochs": 8', `"epochs": ${EPOCHS}`);
    const body = CreateJob.parse(JSON.parse(text));
    const datasets = new DatasetStore(service.store);
    const deps: PlanningDeps = {
      models: { get: () => Promise.resolve(undefined) },
      datasets,
      limits: { jobThreads: 1, jobDeadlineSeconds: 300 },
      checkWebhookUrl: () => undefined,
    };
    const { job, dryRun } = await planJob(TENANT, body, deps);
    assert.ok(dryRun.estimate.seconds !== null && dryRun.estimate.secondsRange !== null);
    assert.match(dryRun.estimate.basis.seconds, /training takes 576 samples/);
    const record = await service.finished((await service.jobs.service.submit(job)).record.id, 120_000);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    const result = decodeModel(await service.artifact(record, 'model.onnx'));
    assert.ok(result.graph.nodes.some(({ opType }) => opType === 'QuantizeLinear'));
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    assert.ok(report.result.bytes < 0.5 * report.baseline.bytes);
    assert.deepEqual(
      report.steps.flatMap(({ pass, training = [] }) => training.map(({ epochs }) => [pass, epochs.length])),
      [['train.finetune', EPOCHS]],
    );
    // A fresh network guesses: that is no sign of wrong preprocessing.
    assert.ok(!report.recommendations.some(({ code }) => code === 'baseline-is-guessing'));
  });
});
