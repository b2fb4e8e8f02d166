/**
 * `npm run demo`: starts the service on its embedded default, compresses the example network through the HTTP API, and
 * shows what came of it. Exit code 0 only when the job succeeded and its artifact was downloaded and is intact.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { join, resolve } from 'node:path';
import { TersorClient } from '../../src/client/client.ts';
import type { Job } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';

const EXAMPLE = resolve('examples/fashion-mnist');
const FOLDER = resolve('.demo');
const START_TIMEOUT_MS = 30_000;

process.exitCode = await main();

async function main(): Promise<number> {
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  const service = startService();
  try {
    const baseUrl = await listening(service);
    console.log(`service    ${baseUrl}, data in ${join(FOLDER, 'data')}`);
    const client = new TersorClient({ baseUrl });
    const job = await runJob(client);
    if (job.status !== 'succeeded') {
      console.error(`The job ended as ${job.status}: ${job.error?.code ?? ''} ${job.error?.message ?? ''}`);
      return 1;
    }
    await show(client, job);
    return 0;
  } finally {
    const gone = new Promise((done) => service.once('exit', done));
    service.kill('SIGTERM');
    await gone;
  }
}

function startService(): ChildProcess {
  return spawn(process.execPath, ['dist/src/server.js'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      PORT: '0',
      HOST: '127.0.0.1',
      DATA_DIR: join(FOLDER, 'data'),
      ROLE: 'all',
      LOG_LEVEL: 'info',
    },
  });
}

/** The address the service logs once it listens. Its log goes to a file, so that the screen stays readable. */
function listening(service: ChildProcess): Promise<string> {
  return new Promise((found, failed) => {
    const log: string[] = [];
    const timer = setTimeout(() => failed(new Error('the service did not start within 30 s')), START_TIMEOUT_MS);
    service.once('exit', (code) =>
      failed(new Error(`the service ended with exit code ${code ?? 'none'}\n${log.join('\n')}`)),
    );
    if (service.stdout === null) throw new Error('the service has no output');
    createInterface({ input: service.stdout }).on('line', (line) => {
      log.push(line);
      void writeFile(join(FOLDER, 'service.log'), `${log.join('\n')}\n`);
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (address === undefined) return;
      clearTimeout(timer);
      found(address);
    });
  });
}

async function runJob(client: TersorClient): Promise<Job> {
  const model = await client.uploadModel({ path: join(EXAMPLE, 'fashion-resnet8.onnx') });
  console.log(`model      ${model.id}, ${model.bytes} bytes, ${model.parameters} parameters`);
  const calibration = await client.uploadDataset({ path: join(EXAMPLE, 'calibration.npz') }, { name: 'calibration' });
  const evaluation = await client.uploadDataset({ path: join(EXAMPLE, 'evaluation.npz') }, { name: 'evaluation' });
  console.log(`data       ${calibration.samples} images to calibrate, ${evaluation.samples} to evaluate`);
  const job = await client.createJob({
    model: model.id,
    recipe: { version: 1, steps: [{ pass: 'quantize.static' }] },
    data: { calibration: { dataset: calibration.id }, evaluation: { dataset: evaluation.id } },
    preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
    constraints: { maxAccuracyDrop: 0.01 },
  });
  console.log(`job        ${job.id}`);
  for await (const event of client.events(job.id)) {
    const { progress, message } = event.data as { progress?: number; message?: string };
    progressLine(event.type, progress, message);
  }
  if (process.stdout.isTTY) process.stdout.write('\n');
  return client.getJob(job.id);
}

/** One line that fills up on a terminal; elsewhere a line for each change of step. */
function progressLine(type: string, progress = 0, message = ''): void {
  if (process.stdout.isTTY) {
    const width = 30;
    const done = Math.round((type === 'job.succeeded' ? 1 : progress) * width);
    if (type === 'job.progress' || type === 'job.succeeded') {
      process.stdout.write(`\r\x1b[Kprogress   [${'#'.repeat(done)}${'.'.repeat(width - done)}] ${message}`);
    }
  } else console.log(`event      ${type}${message === '' ? '' : `  ${(progress * 100).toFixed(0)} %  ${message}`}`);
}

async function show(client: TersorClient, job: Job): Promise<void> {
  const report = Report.parse(await client.report(job.id));
  const modelPath = join(FOLDER, 'model.onnx');
  const reportPath = join(FOLDER, 'report.html');
  // Both are checked against the sha256 of the manifest while they are downloaded.
  await client.downloadArtifact(job.id, 'model.onnx', modelPath);
  await client.downloadArtifact(job.id, 'report.html', reportPath);
  const { baseline, result, comparison } = report;
  const percent = (value: number): string => `${(value * 100).toFixed(2)} %`;
  const accuracy = (of: typeof baseline): string =>
    of.accuracy === undefined
      ? 'not measured'
      : `${percent(of.accuracy.value)} (${of.accuracy.confidenceInterval.map(percent).join(' to ')})`;
  const latency = (of: typeof baseline): string =>
    of.latency === undefined ? 'not measured' : `${of.latency.p50Ms.toFixed(3)} ms`;
  const rows = [
    ['', 'before', 'after'],
    ['bytes', String(baseline.bytes), String(result.bytes)],
    ['top-1 (95 %)', accuracy(baseline), accuracy(result)],
    ['latency p50', latency(baseline), latency(result)],
  ];
  console.log('');
  for (const row of rows) console.log(row.map((cell, column) => cell.padEnd(column === 0 ? 14 : 36)).join(''));
  console.log(`\n${report.headline}`);
  if (comparison.latency !== undefined)
    console.log(`speed-up   ${comparison.latency.speedup.toFixed(2)} (${comparison.latency.verdict})`);
  console.log(`verdict    ${report.verdict}`);
  console.log(`model      ${modelPath}\nreport     ${reportPath}`);
}
