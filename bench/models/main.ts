/**
 * `npm run bench -- models MODELS_DIR [CIFAR_TRAIN.npz CIFAR_TEST.npz]`: every `.onnx` file of a folder through
 * `quantize.dynamic` and `quantize.static`, by HTTP. Models with a [b,3,32,32] input are calibrated and evaluated on the
 * two data sets, where given; the others on inputs made up from their types. Prints a table: bytes, top-1 or the worst
 * output's cosine, speed-up with its interval, steps' skips.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { TersorClient } from '../../src/client/client.ts';
import { generatedFeeds } from '../../src/data/generated-feeds.ts';
import { writeNpz } from '../../src/data/npz-writer.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { allocate, elementCount, type NdArray } from '../../src/onnx/nd-array.ts';
import type { ModelResource } from '../../src/schemas/model.ts';
import { Report } from '../../src/schemas/report.ts';
import { withService } from '../service.ts';

const GENERATED_SAMPLES = 32;
const CIFAR_PREPROCESS = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** These were trained with other statistics. */
const VNNCOMP_PREPROCESS = { scale: 1 / 255, mean: [0.4914, 0.4822, 0.4465], std: [0.2471, 0.2435, 0.2616] };

interface CifarSets {
  readonly train: string;
  readonly test: string;
}

export async function main(args: readonly string[]): Promise<void> {
  const [folder, trainPath, testPath] = args;
  if (folder === undefined) throw new Error('give the folder of the models');
  const paths = (await readdir(folder)).filter((name) => name.endsWith('.onnx')).sort();
  const scratch = await mkdtemp(join(tmpdir(), 'tersor-bench-models-'));
  try {
    await withService(async (client) => {
      const cifar =
        trainPath === undefined || testPath === undefined
          ? undefined
          : {
              train: (await client.uploadDataset({ path: trainPath })).id,
              test: (await client.uploadDataset({ path: testPath })).id,
            };
      console.log('| model | pass | bytes | accuracy or cosine | speed-up (95 %) | changed | skipped |');
      console.log('|---|---|---|---|---|---|---|');
      for (const name of paths) await oneModel(client, join(folder, name), scratch, cifar);
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function oneModel(
  client: TersorClient,
  path: string,
  scratch: string,
  cifar: CifarSets | undefined,
): Promise<void> {
  const model = await client.uploadModel({ path });
  const name = basename(path, '.onnx');
  const data =
    isCifar(model) && cifar !== undefined
      ? { calibration: { dataset: cifar.train, samples: 512 }, evaluation: { dataset: cifar.test } }
      : { calibration: { dataset: await generatedSet(client, path, join(scratch, `${name}.npz`)) } };
  const preprocess = name.startsWith('vnncomp') ? VNNCOMP_PREPROCESS : CIFAR_PREPROCESS;
  for (const pass of ['quantize.dynamic', 'quantize.static']) {
    const job = await client.createJob({
      model: model.id,
      recipe: { version: 1, steps: [{ pass }] },
      data,
      threads: 1,
      ...('evaluation' in data ? { preprocess } : {}),
    });
    const ended = await client.waitForJob(job.id);
    console.log(
      ended.status === 'succeeded'
        ? row(name, pass, Report.parse(await client.report(job.id)))
        : `| ${name} | ${pass} | ${ended.status}: ${ended.error?.code ?? ''} ${ended.error?.message ?? ''} | | | | |`,
    );
  }
}

function isCifar(model: ModelResource): boolean {
  const shape = model.inputs[0]?.shape;
  return model.inputs.length === 1 && shape?.slice(1).join() === '3,32,32';
}

/** Made-up inputs as a data set: the same seed gives the same file. */
async function generatedSet(client: TersorClient, modelPath: string, path: string): Promise<string> {
  const { graph } = await loadModel(modelPath);
  const inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  const feeds = generatedFeeds(inputs, { seed: 7, samples: GENERATED_SAMPLES });
  const samples: Record<string, NdArray[]> = {};
  for await (const batch of feeds.batches(1)) {
    for (const [input, array] of Object.entries(batch.feeds)) (samples[input] ??= []).push(array);
  }
  const arrays = Object.entries(samples).map(([input, list]): [string, NdArray] => [input, stacked(list)]);
  await writeNpz(path, Object.fromEntries(arrays));
  return (await client.uploadDataset({ path })).id;
}

/** Samples in one array, each with its own (batch 1) first axis kept as the sample axis. */
function stacked(list: readonly NdArray[]): NdArray {
  const [first] = list;
  if (first === undefined || first.type === 'string') throw new Error('no numeric samples');
  const { type, dims, data } = first;
  const joined = allocate(type, elementCount(dims) * list.length);
  list.forEach((array, index) => {
    // One input, one element type: the views are of one kind.
    (joined as Float32Array).set(array.data as Float32Array, index * data.length);
  });
  return { type, dims: [list.length, ...(dims[0] === 1 ? dims.slice(1) : dims)], data: joined };
}

function row(name: string, pass: string, report: Report): string {
  const { baseline, result, comparison } = report;
  const cosines = (comparison.outputs ?? []).map(({ cosine }) => cosine).filter((cosine) => cosine !== null);
  const percent = (value: number): string => (value * 100).toFixed(2);
  const quality =
    comparison.accuracy === undefined
      ? `cosine ${cosines.length === 0 ? 'not measured' : Math.min(...cosines).toFixed(5)}`
      : `top-1 ${percent(comparison.accuracy.before)} -> ${percent(comparison.accuracy.after)}`;
  const speed = comparison.latency;
  const step = report.steps.at(-1);
  return `| ${[
    name,
    pass,
    `${baseline.bytes} -> ${result.bytes} (${(result.bytes / baseline.bytes).toFixed(3)})`,
    quality,
    speed === undefined
      ? 'not measured'
      : `${speed.speedup.toFixed(2)} (${speed.confidenceInterval.map((bound) => bound.toFixed(2)).join('–')}) ${speed.verdict}`,
    step?.changed ?? 0,
    step?.skipped.length ?? 0,
  ].join(' | ')} |`;
}
