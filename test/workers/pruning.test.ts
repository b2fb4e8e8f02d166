import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { decodeSparseModel } from '../../src/client/sparse-model.ts';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import type { NewJob } from '../../src/jobs/job-service.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { EXAMPLE, FASHION, WorkerService } from '../helpers/worker-service.ts';

const INPUT = `${EXAMPLE}/fashion-resnet8.onnx`;

describe('pruning as a job', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let dataset: { id: string; sha256: string };
  let evaluation: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    model = await service.uploadModel(INPUT);
    evaluation = await service.uploadDataset(`${EXAMPLE}/evaluation.npz`);
    dataset = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
  });
  after(() => service.stop());

  async function run(
    steps: { readonly pass: string; readonly [option: string]: unknown }[],
    data: NewJob['data'] = {},
  ): Promise<{ record: JobRecord; report: Report }> {
    const job = await service.submit({
      model: model.id,
      recipe: { version: 1, steps },
      inputs: {
        model: model.sha256,
        calibration: dataset.sha256,
        training: dataset.sha256,
        evaluation: evaluation.sha256,
      },
      data: {
        calibration: { dataset: dataset.id, samples: 64 },
        training: { dataset: dataset.id, range: [0, 320] },
        ...data,
      },
      preprocess: { ...FASHION },
    });
    const record = await service.finished(job.id, 120_000);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    return { record, report };
  }

  it('channels go, the rest is trained and quantized: a quarter of the file at most, and a report of each step', async () => {
    const { record, report } = await run(
      [
        { pass: 'prune.channels', macsRatio: 0.5, recover: 'bn-statistics' },
        { pass: 'train.finetune', training: { epochs: 1, batchSize: 64, learningRate: 0.01 } },
        { pass: 'quantize.static' },
      ],
      { evaluation: { dataset: evaluation.id, samples: 200 } },
    );
    const asked = report.steps.filter(({ pass }) => pass !== 'canonicalize');
    assert.deepEqual(
      asked.map(({ pass }) => pass),
      ['prune.channels', 'train.finetune', 'quantize.static'],
    );
    assert.ok(asked.every(({ changed }) => changed > 0));
    const [pruned, trained] = asked;
    const { share } = pruned?.details['macs'] as { share: number };
    assert.ok(share <= 0.5 && share > 0.4, `${share} of the work`);
    assert.equal(trained?.training?.[0]?.epochs.length, 1);

    const artifact = await service.artifact(record, 'model.onnx');
    const bytes = (await stat(INPUT)).size;
    assert.ok(4 * artifact.length <= bytes, `${artifact.length} of ${bytes}`);
    assert.deepEqual(record.summary?.bytes, { before: bytes, after: artifact.length });
    const { graph } = decodeModel(artifact);
    assert.ok(graph.nodes.some(({ opType }) => opType === 'QuantizeLinear'));
    assert.ok(!graph.nodes.some(({ opType }) => opType === 'BatchNormalization'));
    // 0.935 before; what guesses has 0.1.
    assert.ok((record.summary.accuracy.after ?? 0) > 0.7, JSON.stringify(record.summary.accuracy));
  });

  it('the sparse artifact gives back model.onnx, with as many zeros as were asked for', async () => {
    const { record, report } = await run([
      { pass: 'prune.unstructured', sparsity: 0.8, method: 'lamp', sidecar: true },
    ]);
    const result = await service.artifact(record, 'model.onnx');
    const sidecar = await service.artifact(record, 'sparse.tersors');
    const entry = report.artifacts.find(({ name }) => name === 'sparse.tersors');
    assert.deepEqual([entry?.kind, entry?.bytes], ['sidecar', sidecar.length]);
    assert.ok(sidecar.length < 0.25 * result.length, `${sidecar.length} of ${result.length}`);
    const restored = decodeSparseModel(sidecar);
    assert.ok(result.equals(restored));
    const weights = [...decodeModel(restored).graph.initializers.values()].filter(({ dims }) => dims.length > 1);
    const values = weights.flatMap((tensor) => [...tensor.floats()]);
    assert.equal(values.filter((value) => value === 0).length, Math.round(0.8 * values.length));
  });
});
