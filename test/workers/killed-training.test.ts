import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { filesPrefix } from '../../src/jobs/job-keys.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { EXAMPLE, FASHION, TENANT, WorkerService } from '../helpers/worker-service.ts';

const TRAINING = { epochs: 10, batchSize: 16, augment: [{ name: 'crop', padding: 2 }, 'flip'], learningRate: 0.01 };
const STUDENT = { architecture: 'resnet', depth: 8, width: 0.25, classes: 10, inputSize: 28, inputChannels: 1 };

describe('a job that trains', () => {
  let service: WorkerService;
  let model: { id: string; sha256: string };
  let training: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    await service.worker?.close();
    await service.startWorker(2 * 2 ** 30, 0.1);
    model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    training = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
  });
  after(() => service.stop());

  const submit = (step: { pass: string; training: object }): Promise<JobRecord> =>
    service.submit({
      model: model.id,
      recipe: { version: 1, steps: [step] },
      inputs: { model: model.sha256, training: training.sha256 },
      data: { training: { dataset: training.id } },
      preprocess: { ...FASHION },
    });
  const messagesOf = async (id: string): Promise<string[]> =>
    (await service.jobs.service.events(TENANT, id, 0)).map(({ data }) => String(data['message']));
  const shaOf = async (record: JobRecord): Promise<string> => {
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    return createHash('sha256')
      .update(await service.artifact(record, 'model.onnx'))
      .digest('hex');
  };
  /** Resolves when the store has a checkpoint from the middle of a step: the first is that after canonicalize. */
  const withinStep = (id: string): Promise<JobRecord> =>
    service.until(id, ({ checkpoint }) => checkpoint !== null && !checkpoint.key.includes('checkpoints/1/'));

  for (const step of [
    { pass: 'train.finetune', training: TRAINING },
    { pass: 'distill', student: STUDENT, baseline: true, training: { ...TRAINING, epochs: 20 } },
  ]) {
    it(`${step.pass}: killed in the middle of an epoch, gives the bytes of an undisturbed run`, async () => {
      const undisturbed = await shaOf(await service.finished((await submit(step)).id, 120_000));
      const { id } = await submit(step);
      await withinStep(id);
      for (const pid of jobChildren()) process.kill(pid, 'SIGKILL');
      const record = await service.finished(id, 120_000);
      assert.equal(record.attempt, 2);
      assert.equal(await shaOf(record), undisturbed);
      const report = Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
      const runs = report.steps.flatMap(({ training = [] }) => training);
      assert.ok(runs.some(({ resumedAt }) => resumedAt.length === 1));
      const messages = await messagesOf(id);
      assert.ok(
        messages.some((text) => /resumed in epoch \d+ of \d+ after step [1-9]/.test(text)),
        messages.join('\n'),
      );
    });
  }

  it('keeps one checkpoint of an attempt in the middle of a step, not one for each time', async () => {
    const { id } = await submit({ pass: 'train.finetune', training: TRAINING });
    const record = await service.finished(id, 120_000);
    const kept = await service.store.list(filesPrefix(TENANT, id));
    const folders = new Set(kept.flatMap(({ key }) => /checkpoints\/(\d+)\//.exec(key)?.[1] ?? []));
    // After canonicalize and after the training; what lay between is gone.
    assert.equal(folders.size, 2, [...folders].join());
    assert.ok(Math.max(...[...folders].map(Number)) > 4, 'no checkpoint was written in between: this shows nothing');
    assert.equal(record.checkpoint?.steps, 2);
  });

  it('is canceled in the middle of an epoch, at once', async () => {
    const { id } = await submit({ pass: 'train.finetune', training: { ...TRAINING, epochs: 1000 } });
    await withinStep(id);
    const asked = performance.now();
    await service.jobs.service.cancel(TENANT, id);
    const record = await service.finished(id, 10_000);
    assert.equal(record.status, 'canceled');
    assert.ok(performance.now() - asked < 5000, `took ${performance.now() - asked} ms`);
  });
});

function jobChildren(): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line);
    return match?.[3]?.includes('job-child') === true && Number(match[2]) === process.pid ? [Number(match[1])] : [];
  });
}
