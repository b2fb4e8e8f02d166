import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import { writeModel } from '../../src/onnx/codec/write.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { EXAMPLE, FASHION, WorkerService } from '../helpers/worker-service.ts';

const SMALL = { architecture: 'resnet', depth: 8, width: 0.25, classes: 10, inputSize: 28, inputChannels: 1 };

describe('distill as a job', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let training: { id: string; sha256: string };
  let folder: string;
  before(async () => {
    service = await WorkerService.start();
    folder = await mkdtemp(join(tmpdir(), 'tersor-distill-'));
    model = await service.uploadModel('test/fixtures/onnx/pytorch-resnet8.onnx');
    training = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
  });
  after(async () => {
    await service.stop();
    await rm(folder, { recursive: true });
  });

  const run = async (
    step: object,
    inputs: Record<string, string> = {},
    further: { pass: string }[] = [],
  ): Promise<JobRecord> => {
    const job = await service.submit({
      model: model.id,
      recipe: {
        version: 1,
        steps: [{ pass: 'distill', training: { epochs: 1, batchSize: 64, learningRate: 0.05 }, ...step }, ...further],
      },
      inputs: { model: model.sha256, training: training.sha256, ...inputs },
      data: { training: { dataset: training.id, range: [0, 320] } },
      preprocess: { ...FASHION },
    });
    return service.finished(job.id, 120_000);
  };
  const detailsOf = async (record: JobRecord): Promise<Record<string, unknown>> => {
    const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
    return report.steps.find(({ pass }) => pass === 'distill')?.details ?? {};
  };

  it('teaches a fresh network of the zoo, which is quantized in the same recipe', async () => {
    const record = await run({ student: SMALL, baseline: true }, {}, [{ pass: 'quantize.dynamic' }]);
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    const { graph } = decodeModel(await service.artifact(record, 'model.onnx'));
    assert.deepEqual(
      graph.inputs.map(({ name }) => name),
      ['image'],
    );
    // Folded after the last step that trains it.
    assert.ok(!graph.nodes.some(({ opType }) => opType === 'BatchNormalization'));
    // 78 thousand parameters before, 5 thousand now.
    assert.ok((record.summary?.bytes.after ?? Infinity) < 40_000);
    const details = await detailsOf(record);
    const accuracy = details['accuracy'] as Record<string, { value: number }>;
    assert.ok(accuracy['teacher']!.value > 0.8);
    assert.deepEqual(Object.keys(accuracy), ['teacher', 'student', 'studentAlone']);
  });

  it('fetches the model a step names', async () => {
    const path = join(folder, 'student.onnx');
    await writeModel(buildArchitecture(SMALL, 7), path);
    const student = await service.uploadModel(path);
    const step = { student: { model: student.id } };
    const record = await run(step, { [`models/${student.id}`]: student.sha256 });
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    // 78 thousand parameters before, 5 thousand now.
    assert.ok((record.summary?.bytes.after ?? Infinity) < 40_000);
  });

  it('refuses a further model that is another one than the job was made for', async () => {
    const record = await run({ student: { model: model.id } }, { [`models/${model.id}`]: 'f'.repeat(64) });
    assert.equal(record.error?.code, 'INPUT_CHANGED');
  });

  it('teaches the model by what the job started from', async () => {
    const record = await run({ student: 'self', losses: [{ name: 'kd' }] });
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    const details = await detailsOf(record);
    assert.equal(details['teacher'], 'input');
    assert.ok((details['accuracy'] as { student: { value: number } }).student.value > 0.8);
  });
});
