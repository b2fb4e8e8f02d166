import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { z } from 'zod';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';
import type { NewJob } from '../../src/jobs/job-service.ts';
import { hasResult } from '../../src/jobs/record-changes.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { Report, type StepReport } from '../../src/schemas/report.ts';
import { EXAMPLE, FASHION, TENANT, WorkerService } from '../helpers/worker-service.ts';

/** More than any test waits for. */
const ENDLESS = { epochs: 1000, batchSize: 16, learningRate: 0.02 };
const ONE_SHOT = {
  pass: 'search.architecture',
  strategy: 'one-shot',
  space: {
    architecture: 'staged',
    uniform: true,
    stemChannels: 4,
    stages: [{ channels: { search: [4, 8] }, blocks: { search: [1, 2] }, stride: 2 }],
  },
  training: ENDLESS,
  trials: 4,
  oneShot: { recalibrationSamples: 64 },
};
const DARTS = {
  pass: 'search.architecture',
  strategy: 'darts',
  space: {
    architecture: 'staged',
    stemChannels: 4,
    stages: [{ block: { search: ['plain', 'basic'] }, channels: 8, stride: 2 }],
  },
  training: ENDLESS,
  darts: { recalibrationSamples: 64 },
};
const PATIENCE_MS = 240_000;

describe('a search within its step', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let dataset: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    await service.worker?.close();
    await service.startWorker(2 * 2 ** 30, 0.5);
    model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    dataset = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
  });
  after(() => service.stop());

  const submit = (step: { pass: string }, changes: Partial<NewJob> = {}): Promise<JobRecord> =>
    service.submit({
      model: model.id,
      recipe: { version: 1, steps: [step] },
      inputs: { model: model.sha256, training: dataset.sha256, evaluation: dataset.sha256 },
      data: {
        training: { dataset: dataset.id, range: [0, 128] },
        evaluation: { dataset: dataset.id, range: [128, 192] },
      },
      preprocess: { ...FASHION },
      deadlineSeconds: 600,
      ...changes,
    });
  /** What the search handed out, which is a network that can run. */
  const handedOut = async (record: JobRecord): Promise<StepReport> => {
    assert.ok(hasResult(record), JSON.stringify(record.error));
    verifyModel(decodeModel(await service.artifact(record, 'model.onnx')));
    assert.ok((await service.artifact(record, 'report.html')).length > 1000);
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    const step = report.steps.find(({ pass }) => pass === 'search.architecture');
    assert.ok(step);
    assert.equal(step.details['cutShort'], true);
    return step;
  };

  for (const step of [ONE_SHOT, DARTS])
    it(`${step.strategy}: canceled while it trains, hands out what it has`, async () => {
      const { id } = await submit(step);
      await service.until(id, ({ search }) => search !== undefined, PATIENCE_MS);
      await service.jobs.service.cancel(TENANT, id);
      const record = await service.finished(id, PATIENCE_MS);
      assert.deepEqual([record.status, record.attempt], ['canceled', 2]);
      const { warnings, details } = await handedOut(record);
      assert.match(warnings.join('\n'), /the search was ended early: .* of \d+ epochs of training/);
      if (step === DARTS) return;
      const { trials } = z.object({ trials: z.array(z.looseObject({ status: z.string() })) }).parse(details);
      assert.ok(trials.some(({ status }) => status === 'succeeded'));
    });

  it('out of time while it trains, succeeds with what it has', async () => {
    const { id } = await submit(ONE_SHOT, { deadlineSeconds: 40 });
    const record = await service.finished(id, PATIENCE_MS);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    await handedOut(record);
  });

  it('canceled before it has saved a state, ends with nothing', async () => {
    await service.worker?.close();
    await service.startWorker(2 * 2 ** 30, 600);
    const { id } = await submit(ONE_SHOT);
    await service.until(id, ({ step }) => step === 0, PATIENCE_MS);
    await service.jobs.service.cancel(TENANT, id);
    const record = await service.finished(id, PATIENCE_MS);
    assert.deepEqual([record.status, record.summary, record.attempt], ['canceled', null, 1]);
  });
});
