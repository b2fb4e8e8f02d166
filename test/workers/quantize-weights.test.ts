import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { Report } from '../../src/schemas/report.ts';
import { WorkerService } from '../helpers/worker-service.ts';

const MODEL = { architecture: 'mlp', depth: 2, width: 128, inputSize: 8, inputChannels: 1, classes: 10 };

describe('weights alone, in a job', () => {
  let service: WorkerService;
  before(async () => {
    service = await WorkerService.start();
  });
  after(() => service.stop());

  for (const format of ['matmulnbits', 'qdq'] as const) {
    it(`the report counts 4-bit weights in format ${format}, and the result does what the model did`, async () => {
      const job = await service.submit({
        model: MODEL,
        recipe: { version: 1, steps: [{ pass: 'quantize.weights', format }] },
        inputs: {},
      });
      const record = await service.finished(job.id, 120_000);
      assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
      const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
      const step = report.steps.find(({ pass }) => pass === 'quantize.weights');
      assert.deepEqual([step?.changed, step?.skipped], [3, []]);
      assert.ok(
        report.result.bytes < 0.2 * report.baseline.bytes,
        `${report.result.bytes} of ${report.baseline.bytes}`,
      );
      const bits = report.result.effectiveBitsPerWeight;
      assert.ok(bits !== undefined && bits > 4.5 && bits < 6, `${bits} bits`);
      const model = decodeModel(await service.artifact(record, 'model.onnx'));
      const stored = model.graph.nodes.filter(
        ({ opType }) => opType === 'MatMulNBits' || opType === 'DequantizeLinear',
      );
      assert.equal(stored.length, 3);
      const { outputs } = report.comparison;
      assert.ok(
        outputs?.every(({ cosine }) => (cosine ?? 0) > 0.97),
        JSON.stringify(outputs),
      );
    });
  }
});
