/**
 * `npm run example:train -- TRAINING_DATA`: makes fashion-resnet8.onnx, as a job of the embedded service that starts from
 * a fresh network of the zoo. The same data on the same kind of machine gives the same bytes.
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { writeNpz } from '../../src/data/npz-writer.ts';
import { Report } from '../../src/schemas/report.ts';
import { EmbeddedService } from './embedded-service.ts';
import { readOriginalFiles } from './original-files.ts';

const EXAMPLE = resolve('examples/fashion-mnist');
const FOLDER = resolve('.example');
const USAGE = `usage: npm run example:train -- TRAINING_DATA [--output FILE] [--epochs N] [--samples N]

TRAINING_DATA is not part of this repository (26 MB). It is one of
  a folder with train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz, as
    https://github.com/zalandoresearch/fashion-mnist has them under data/fashion
  a .npz file with images (uint8, [60000, 1, 28, 28]) and labels (int64, [60000])

  --output   where the network goes; default examples/fashion-mnist/fashion-resnet8.onnx
  --epochs   default 10
  --samples  the first so many images only, to try it out; default all`;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { output: { type: 'string' }, epochs: { type: 'string' }, samples: { type: 'string' } },
  });
  const [source] = positionals;
  const info = source === undefined ? undefined : await stat(source).catch(() => undefined);
  if (source === undefined || info === undefined) {
    console.error(source === undefined ? USAGE : `There is no ${source}.\n\n${USAGE}`);
    return 2;
  }
  // Threads are part of what decides the bytes.
  const service = await EmbeddedService.start(FOLDER, { JOB_THREADS: '2' });
  try {
    let training = source;
    if (info.isDirectory()) {
      training = join(FOLDER, 'training.npz');
      await writeNpz(training, await readOriginalFiles(source));
    }
    const { client } = service;
    const data = await client.uploadDataset({ path: training }, { name: 'training' });
    const evaluation = await client.uploadDataset({ path: join(EXAMPLE, 'evaluation.npz') }, { name: 'evaluation' });
    console.log(`data       ${data.samples} images to train on, ${evaluation.samples} to evaluate`);
    const samples = values.samples === undefined ? {} : { samples: Number(values.samples) };
    const { id } = await client.createJob({
      model: { architecture: 'resnet', depth: 8, classes: 10, inputSize: 28, inputChannels: 1 },
      recipe: { version: 1, steps: [{ pass: 'train.finetune', training: recipe(Number(values.epochs ?? 10)) }] },
      data: { training: { dataset: data.id, ...samples }, evaluation: { dataset: evaluation.id } },
      preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
      threads: 2,
      seed: 0,
    });
    const started = performance.now();
    const job = await service.follow(id);
    if (job.status !== 'succeeded') return 1;
    const output = resolve(values.output ?? join(EXAMPLE, 'fashion-resnet8.onnx'));
    const { bytes, sha256 } = await client.downloadArtifact(id, 'model.onnx', output);
    await client.downloadArtifact(id, 'report.html', join(FOLDER, 'report.html'));
    const { accuracy } = Report.parse(await client.report(id)).result;
    const right = accuracy === undefined ? 'not measured' : `${(accuracy.value * 100).toFixed(2)} %`;
    console.log(`trained    in ${((performance.now() - started) / 1000).toFixed(0)} s, top-1 ${right}`);
    console.log(
      `model      ${output}, ${bytes} bytes\nsha256     ${sha256}\nreport     ${join(FOLDER, 'report.html')}`,
    );
    return 0;
  } finally {
    await service.stop();
  }
}

/** All images are trained on, and the last epoch is the result: nothing was chosen by looking at the test set. */
function recipe(epochs: number) {
  return {
    epochs,
    batchSize: 128,
    optimizer: { name: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 5e-4 },
    learningRate: 0.1,
    schedule: 'cosine',
    augment: [{ name: 'crop', padding: 2 }, 'flip'],
    validation: { fraction: 0 },
    keep: 'last',
  };
}
