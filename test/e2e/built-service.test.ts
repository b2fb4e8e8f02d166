import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { TersorClient } from '../../src/client/client.ts';
import { Report } from '../../src/schemas/report.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { zip } from '../data/archives.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';
import { endWithThisProcess } from '../helpers/services.ts';

const SAMPLES = 32;

/** Gray squares, dark ones and bright ones, as PNG files in two folders. */
async function squares(): Promise<Buffer> {
  const images = Array.from({ length: SAMPLES }, async (_, index) => {
    const gray = (index % 2) * 128 + 2 * index;
    const create = { width: 28, height: 28, channels: 3, background: { r: gray, g: gray, b: gray } } as const;
    const data = await sharp({ create }).grayscale().png().toBuffer();
    return { name: `${index % 2 === 0 ? 'dark' : 'bright'}/${index}.png`, data };
  });
  return zip(await Promise.all(images));
}

/** The other tests run the sources; a build has the job child and its thread as files of their own kind (esbuild.config.js). */
describe('the service as it is built', () => {
  let folder: string;
  let service: ChildProcess;
  let client: TersorClient;
  before(async () => {
    await promisify(execFile)('npm', ['run', 'build']);
    folder = await mkdtemp(join(tmpdir(), 'tersor-built-'));
    const store = new FileSystemStore(folder);
    await putKnownKernelCosts(store);
    await store.close();
    const started = spawn(process.execPath, ['dist/src/server.js'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, PORT: '0', DATA_DIR: folder, JOB_THREADS: '1', LOG_LEVEL: 'info' },
    });
    service = endWithThisProcess(started);
    for await (const line of createInterface({ input: started.stdout })) {
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (found === undefined) continue;
      client = new TersorClient({ baseUrl: found });
      break;
    }
    started.stdout.resume();
  });
  after(async () => {
    const gone = once(service, 'exit');
    service.kill('SIGTERM');
    await gone;
    await rm(folder, { recursive: true, force: true });
  });

  it('trains on images: its child loads ONNX Runtime and the image decoder, and its thread starts', async () => {
    const file = join(folder, 'squares.zip');
    await writeFile(file, await squares());
    const model = await client.uploadModel({ path: 'examples/fashion-mnist/fashion-resnet8.onnx' });
    const data = await client.uploadDataset({ path: file });
    const training = { epochs: 1, batchSize: 8, augment: ['flip'], validation: { fraction: 0.25 } };
    const job = await client.createJob({
      model: model.id,
      recipe: { version: 1, steps: [{ pass: 'train.finetune', training }] },
      data: { training: { dataset: data.id }, evaluation: { dataset: data.id, metric: 'top1' } },
      preprocess: { scale: 1 / 255, mean: [0.286], std: [0.353] },
      threads: 1,
    });
    const over = await client.waitForJob(job.id);
    assert.equal(over.status, 'succeeded', JSON.stringify(over.error));
    const report = Report.parse(await client.report(job.id));
    assert.equal(report.result.accuracy?.samples, SAMPLES);
    assert.equal(report.steps.find(({ pass }) => pass === 'train.finetune')?.training?.[0]?.epochs.length, 1);
    assert.match(report.environment.runtime, /onnxruntime-node \d/);
    assert.match(report.environment.tersor, /^\d+\.\d+\.\d+/);
  });
});
