import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeClusteredModel } from '../../src/client/clustered-model.ts';
import { Report } from '../../src/schemas/report.ts';
import { EXAMPLE, WorkerService } from '../helpers/worker-service.ts';

describe('files that a pass hands out beside the model', () => {
  let service: WorkerService;
  before(async () => {
    service = await WorkerService.start();
  });
  after(() => service.stop());

  it('become artifacts of kind sidecar; that of cluster.weights gives back model.onnx, byte for byte', async () => {
    const model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    const steps = [{ pass: 'cluster.weights', bits: 4, entropyCode: true }];
    const job = await service.submit({
      model: model.id,
      recipe: { version: 1, steps },
      inputs: { model: model.sha256 },
    });
    const record = await service.finished(job.id, 120_000);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    const sidecar = await service.artifact(record, 'clustered.tersorc');
    const result = await service.artifact(record, 'model.onnx');
    assert.ok(result.equals(decodeClusteredModel(sidecar)));
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    const entry = report.artifacts.find(({ name }) => name === 'clustered.tersorc');
    assert.deepEqual([entry?.kind, entry?.bytes], ['sidecar', sidecar.length]);
    assert.ok(sidecar.length < result.length && result.length < 0.3 * report.baseline.bytes);
  });
});
