import { join, resolve } from 'node:path';
import type { Job } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import type { EmbeddedService } from './embedded-service.ts';
import { percent, table } from './print.ts';

const EXAMPLE = resolve('examples/fashion-mnist');

/** The example network with int8 weights and activations. @returns whether the job succeeded */
export async function quantizeDemo(
  service: EmbeddedService,
  { folder }: { readonly folder: string },
): Promise<boolean> {
  const { client } = service;
  const model = await client.uploadModel({ path: join(EXAMPLE, 'fashion-resnet8.onnx') });
  console.log(`model      ${model.id}, ${model.bytes} bytes, ${model.parameters} parameters`);
  const calibration = await client.uploadDataset({ path: join(EXAMPLE, 'calibration.npz') }, { name: 'calibration' });
  const evaluation = await client.uploadDataset({ path: join(EXAMPLE, 'evaluation.npz') }, { name: 'evaluation' });
  console.log(`data       ${calibration.samples} images to calibrate, ${evaluation.samples} to evaluate`);
  const { id } = await client.createJob({
    model: model.id,
    recipe: { version: 1, steps: [{ pass: 'quantize.static' }] },
    data: { calibration: { dataset: calibration.id }, evaluation: { dataset: evaluation.id } },
    preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
    constraints: { maxAccuracyDrop: 0.01 },
  });
  console.log(`job        ${id}`);
  const job = await service.follow(id);
  if (job.status === 'succeeded') await show(service, job, folder);
  return job.status === 'succeeded';
}

async function show({ client }: EmbeddedService, job: Job, folder: string): Promise<void> {
  const report = Report.parse(await client.report(job.id));
  const modelPath = join(folder, 'model.onnx');
  const reportPath = join(folder, 'report.html');
  // Both are checked against the sha256 of the manifest while they are downloaded.
  await client.downloadArtifact(job.id, 'model.onnx', modelPath);
  await client.downloadArtifact(job.id, 'report.html', reportPath);
  const { baseline, result, comparison } = report;
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
  table(rows);
  console.log(`\n${report.headline}`);
  if (comparison.latency !== undefined)
    console.log(`speed-up   ${comparison.latency.speedup.toFixed(2)} (${comparison.latency.verdict})`);
  console.log(`verdict    ${report.verdict}`);
  console.log(`model      ${modelPath}\nreport     ${reportPath}`);
}
