import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { Job } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import type { EmbeddedService } from './embedded-service.ts';
import { percent, table } from './print.ts';

const EXAMPLE = resolve('examples/fashion-mnist');

/** The details of the distill step that are shown. */
const Details = z.object({
  accuracy: z.object({
    teacher: z.object({ value: z.number() }),
    student: z.object({ value: z.number() }),
    studentAlone: z.object({ value: z.number() }),
  }),
  effect: z.object({
    difference: z.number(),
    confidenceInterval: z.tuple([z.number(), z.number()]),
    verdict: z.string(),
  }),
});

/**
 * A student with a quarter of the parameters, from 512 labelled images: once from the labels alone, once taught by
 * the example network, which saw 60,000. @returns whether the job succeeded
 */
export async function distillDemo(
  service: EmbeddedService,
  { folder, epochs }: { readonly folder: string; readonly epochs: number },
): Promise<boolean> {
  const { client } = service;
  const model = await client.uploadModel({ path: join(EXAMPLE, 'fashion-resnet8.onnx') });
  console.log(`teacher    ${model.id}, ${model.bytes} bytes, ${model.parameters} parameters`);
  const training = await client.uploadDataset({ path: join(EXAMPLE, 'calibration.npz') }, { name: 'training' });
  const evaluation = await client.uploadDataset({ path: join(EXAMPLE, 'evaluation.npz') }, { name: 'evaluation' });
  console.log(`data       ${training.samples} images to learn from, ${evaluation.samples} to evaluate`);
  const { id } = await client.createJob({
    model: model.id,
    recipe: {
      version: 1,
      steps: [
        {
          pass: 'distill',
          student: { architecture: 'resnet', depth: 8, width: 0.5, classes: 10, inputSize: 28, inputChannels: 1 },
          baseline: true,
          losses: [
            { name: 'ce', weight: 0.1 },
            { name: 'kd', weight: 0.9, temperature: 4 },
          ],
          training: {
            epochs,
            batchSize: 64,
            optimizer: { name: 'sgd', nesterov: true },
            learningRate: 0.05,
            augment: [{ name: 'crop', padding: 2 }, 'flip', 'mixup'],
            // Nothing is chosen by the images that the figures come from.
            validation: { role: 'evaluation' },
            keep: 'last',
          },
        },
      ],
    },
    data: { training: { dataset: training.id }, evaluation: { dataset: evaluation.id } },
    preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
  });
  console.log(`job        ${id}`);
  const job = await service.follow(id);
  if (job.status === 'succeeded') await show(service, job, folder);
  return job.status === 'succeeded';
}

async function show({ client }: EmbeddedService, job: Job, folder: string): Promise<void> {
  const report = Report.parse(await client.report(job.id));
  const step = report.steps.find(({ pass }) => pass === 'distill');
  const { accuracy, effect } = Details.parse(step?.details);
  const modelPath = join(folder, 'student.onnx');
  const reportPath = join(folder, 'report.html');
  // Both are checked against the sha256 of the manifest while they are downloaded.
  await client.downloadArtifact(job.id, 'model.onnx', modelPath);
  await client.downloadArtifact(job.id, 'report.html', reportPath);
  const { baseline, result, comparison } = report;
  const row = (name: string, { value }: { value: number }, of: typeof baseline): string[] => [
    name,
    percent(value),
    String(of.bytes),
    String(of.parameters),
    of.latency === undefined ? 'not measured' : `${of.latency.p50Ms.toFixed(3)} ms`,
  ];
  table([
    ['', 'top-1', 'bytes', 'parameters', 'latency p50'],
    row('teacher', accuracy.teacher, baseline),
    row('student alone', accuracy.studentAlone, result),
    row('student taught', accuracy.student, result),
  ]);
  const [low, high] = effect.confidenceInterval.map((share) => (share * 100).toFixed(2));
  console.log(
    `\nteaching   ${effect.verdict}: ${(effect.difference * 100).toFixed(2)} points (95 % interval ${low ?? ''} to ${high ?? ''})`,
  );
  console.log(report.headline);
  if (comparison.latency !== undefined)
    console.log(`speed-up   ${comparison.latency.speedup.toFixed(2)} (${comparison.latency.verdict})`);
  console.log(`took       ${(step?.seconds ?? 0).toFixed(0)} s\nmodel      ${modelPath}\nreport     ${reportPath}`);
}
