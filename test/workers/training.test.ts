import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { Report } from '../../src/schemas/report.ts';
import { EXAMPLE, FASHION, WorkerService } from '../helpers/worker-service.ts';

const recipe = {
  version: 1 as const,
  steps: [
    {
      pass: 'train.finetune',
      training: { epochs: 2, batchSize: 64, augment: ['flip'], learningRate: 0.01, validation: { role: 'evaluation' } },
    },
  ],
};

describe('train.finetune as a job', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let training: { id: string; sha256: string };
  let evaluation: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    training = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
    evaluation = await service.uploadDataset(`${EXAMPLE}/evaluation.npz`);
  });
  after(() => service.stop());

  const request = (range: [number, number]) => ({
    model: model.id,
    recipe,
    inputs: { model: model.sha256, training: training.sha256, evaluation: evaluation.sha256 },
    data: {
      training: { dataset: training.id, range },
      evaluation: { dataset: evaluation.id, samples: 200 },
    },
    preprocess: { ...FASHION },
  });

  it('trains, reports its curve, and gives the same bytes again', async () => {
    const [first, second] = await Promise.all(
      [1, 2].map(async () => service.finished((await service.submit(request([0, 320]))).id, 120_000)),
    );
    assert.ok(first !== undefined && second !== undefined);
    assert.equal(first.status, 'succeeded', JSON.stringify(first.error));
    const bytes = await service.artifact(first, 'model.onnx');
    assert.deepEqual(await service.artifact(second, 'model.onnx'), bytes);
    // BatchNormalization was kept for training.
    assert.ok(decodeModel(bytes).graph.nodes.some(({ opType }) => opType === 'BatchNormalization'));
    const report = Report.parse(JSON.parse((await service.artifact(first, 'report.json')).toString('utf8')));
    const step = report.steps.find(({ pass }) => pass === 'train.finetune');
    assert.ok(step !== undefined && step.changed > 30);
    const [run] = step.training ?? [];
    assert.equal(run?.epochs.length, 2);
    assert.ok(run.epochs.every(({ seconds, imagesPerSecond }) => seconds > 0 && imagesPerSecond > 0));
    const page = (await service.artifact(first, 'report.html')).toString('utf8');
    assert.ok(page.includes('aria-label="Validation over epochs'));
    assert.ok((first.summary?.accuracy.after ?? 0) > 0.85);
  });

  it('ends before the first epoch when the set is smaller than a batch', async () => {
    const record = await service.finished((await service.submit(request([0, 40]))).id, 60_000);
    assert.equal(record.status, 'failed');
    assert.equal(record.error?.code, 'DATASET_TOO_SMALL');
  });
});
