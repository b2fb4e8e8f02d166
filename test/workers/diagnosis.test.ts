import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Report } from '../../src/schemas/report.ts';
import { EXAMPLE, FASHION, WorkerService } from '../helpers/worker-service.ts';

describe('the diagnosis of a quantizing step, in a job', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let dataset: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    dataset = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
  });
  after(() => service.stop());

  const reportOf = async (steps: readonly Record<string, unknown>[]): Promise<Report> => {
    const submitted = await service.submit({
      model: model.id,
      recipe: { version: 1, steps: steps as { pass: string }[] },
      inputs: { model: model.sha256, calibration: dataset.sha256 },
      data: { calibration: { dataset: dataset.id, samples: 64 } },
      preprocess: { ...FASHION },
    });
    const record = await service.finished(submitted.id, 120_000);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    return Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
  };

  it('stands in the step report, with every layer and on the data that there is', async () => {
    const report = await reportOf([{ pass: 'quantize.static', method: 'percentile', percentile: 90 }]);
    const found = report.steps.find(({ pass }) => pass === 'quantize.static')?.diagnosis;
    assert.equal(found?.data, 'calibration');
    assert.equal(found.rewritten, false);
    assert.deepEqual(found.notMeasured, []);
    assert.equal(found.layers.filter(({ weights }) => weights !== undefined).length, 10);
    // A tenth of the values is cut off: the layers that lose by it are found, with the remedy.
    assert.ok((found.modelSqnrDb ?? 99) < 20);
    assert.equal(found.findings[0]?.reason, 'activation-clipped');
    const advice = report.recommendations.find(({ code }) => code === 'layers-activation-clipped');
    assert.deepEqual(advice?.change, { pass: 'quantize.static', options: { method: 'minmax' } });
  });

  it('holds layers whose channels were scaled against the model as rewritten', async () => {
    const report = await reportOf([{ pass: 'quantize.static', equalize: true }]);
    const found = report.steps.find(({ pass }) => pass === 'quantize.static')?.diagnosis;
    assert.equal(found?.rewritten, true);
    for (const layer of report.layers) assert.ok((layer.sqnrDb ?? 99) > 15, `${layer.name} ${layer.sqnrDb}`);
  });
});
