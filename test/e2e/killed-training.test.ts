import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { TersorClient, type JobRequest } from '../../src/client/client.ts';
import { Report } from '../../src/schemas/report.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';

const EXAMPLE = 'examples/fashion-mnist';

/** The embedded service as a process of its own on a folder, so that it can be killed and started again. */
class ServiceProcess {
  readonly #process: ChildProcess;
  readonly #gone: Promise<unknown>;
  readonly client: TersorClient;

  static async start(folder: string): Promise<ServiceProcess> {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/server.ts'], {
      env: {
        PATH: process.env['PATH'] ?? '',
        DATA_DIR: folder,
        PORT: '0',
        JOB_THREADS: '1',
        SNAPSHOT_SECONDS: '1',
      },
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    while (!output.includes('service listens')) {
      assert.equal(child.exitCode, null, output);
      await delay(20);
    }
    return new ServiceProcess(child, /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0] ?? '');
  }

  private constructor(child: ChildProcess, baseUrl: string) {
    this.#process = child;
    this.#gone = new Promise((resolve) => child.once('exit', resolve));
    this.client = new TersorClient({ baseUrl });
  }

  /** As a crash of the machine: nothing is said good-bye to. Its children go with it. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#gone;
  }
}

describe('a training job whose service is killed in the middle of an epoch', () => {
  let folder: string;
  let service: ServiceProcess;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-e2e-'));
    const store = new FileSystemStore(folder);
    await putKnownKernelCosts(store);
    await store.close();
    service = await ServiceProcess.start(folder);
  });
  after(async () => {
    await service.kill();
    await rm(folder, { recursive: true, force: true });
  });

  it('goes on after a restart and gives the bytes of an undisturbed run', async () => {
    const model = await service.client.uploadModel({ path: `${EXAMPLE}/fashion-resnet8.onnx` });
    const dataset = await service.client.uploadDataset({ path: `${EXAMPLE}/calibration.npz` });
    const request: JobRequest = {
      model: model.id,
      recipe: {
        version: 1,
        steps: [{ pass: 'train.finetune', training: { epochs: 40, batchSize: 8, augment: ['flip'] } }],
      },
      data: { training: { dataset: dataset.id } },
      preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
      seed: 3,
    };
    const { id } = await service.client.createJob(request);
    // A message and a snapshot a second.
    let messagesOfEpochs = 0;
    for await (const { type, data } of service.client.events(id)) {
      assert.ok(type !== 'job.failed' && type !== 'job.succeeded', `${type} before anything was killed`);
      if (/^epoch \d+ of 40, step/.test(String(data['message']))) messagesOfEpochs += 1;
      if (messagesOfEpochs === 3) break;
    }
    await service.kill();
    service = await ServiceProcess.start(folder);
    const job = await service.client.waitForJob(id);
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
    assert.equal(job.attempt, 2);
    const messages: string[] = [];
    for await (const { data } of service.client.events(id)) messages.push(String(data['message']));
    const resumed = messages.some((text) => /^resumed in epoch \d+ of 40 after step \d+/.test(text));
    assert.ok(resumed, messages.join('\n'));
    const report = Report.parse(await service.client.report(id));
    const runs = report.steps.flatMap(({ training = [] }) => training);
    assert.equal(runs[0]?.resumedAt.length, 1);

    const undisturbed = await service.client.waitForJob((await service.client.createJob(request)).id);
    assert.equal(undisturbed.attempt, 1);
    const shaOf = async (jobId: string): Promise<string | undefined> =>
      (await service.client.artifacts(jobId)).find(({ name }) => name === 'model.onnx')?.sha256;
    assert.equal(await shaOf(id), await shaOf(undisturbed.id));
    assert.equal((await shaOf(id))?.length, 64);
  });
});
