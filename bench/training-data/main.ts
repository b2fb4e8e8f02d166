/**
 * How fast training data are prepared: images a second per augmentation, in memory and streamed, and what preparing them
 * in a thread of its own brings beside steps that block this one.
 *
 * npm run bench -- training-data
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Preprocess } from '../../src/data/image-transform.ts';
import { writeNpz } from '../../src/data/npz-writer.ts';
import { openDataset } from '../../src/data/open-dataset.ts';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { openPrefetchedSource } from '../../src/data/training/prefetch.ts';
import {
  openTrainingSource,
  type TrainingOptions,
  type TrainingSource,
} from '../../src/data/training/training-source.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import type { Feeds } from '../../src/runtime/session.ts';
import type { AugmentField } from '../../src/schemas/training-data.ts';

const COUNT = 12_800;
const EPOCHS = 1;
const BATCH = 128;
const THREADS = 2;
const LISTS: readonly AugmentField[] = [
  [],
  ['crop4', 'flip'],
  ['crop4', 'flip', 'cutout'],
  ['crop4', 'flip', 'mixup'],
  ['crop4', 'flip', 'cutmix'],
  ['crop4', 'flip', 'color-jitter'],
  ['crop4', 'flip', 'rand-augment'],
  ['random-resized-crop', 'flip'],
];

interface Kind {
  readonly channels: number;
  readonly side: number;
}

async function makeSet(folder: string, { channels, side }: Kind): Promise<string> {
  const random = new SeededRandom(1);
  const path = join(folder, `${channels}x${side}.npz`);
  const data = new Uint8Array(COUNT * channels * side * side).map(() => random.uint32() & 0xff);
  const labels = BigInt64Array.from({ length: COUNT }, (_, i) => BigInt(i % 10));
  await writeNpz(
    path,
    {
      images: { type: 'uint8', dims: [COUNT, channels, side, side], data },
      labels: { type: 'int64', dims: [COUNT], data: labels },
    },
    { compress: false },
  );
  return path;
}

function setup({ channels, side }: Kind, input: string, options: Partial<TrainingOptions>) {
  const preprocess: Preprocess = {
    scale: 1 / 255,
    mean: 0.45,
    std: 0.25,
    layout: 'nchw',
    channelOrder: 'rgb',
    resize: null,
  };
  return {
    role: { role: 'training', preprocess },
    modelInputs: [tensorValue(input, 'float', ['N', channels, side, side])],
    options: { batchSize: BATCH, seed: 0, labels: 'class', classes: 10, ...options },
  } as const;
}

async function secondsOf(source: TrainingSource, step: (feeds: Feeds) => unknown): Promise<number> {
  const start = performance.now();
  for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
    for await (const { feeds } of source.epoch(epoch)) await step(feeds);
  }
  return (performance.now() - start) / 1000;
}

async function throughput(folder: string): Promise<void> {
  const kind = { channels: 3, side: 32 };
  const dataset = await openDataset(await makeSet(folder, kind));
  console.log(`3x32x32 images, batch ${BATCH}, one thread`);
  console.log('| augment | images/s in memory | images/s streamed |\n|---|---|---|');
  for (const augment of LISTS) {
    const rates: string[] = [];
    for (const memoryBudgetBytes of [512 * 2 ** 20, 16 * 2 ** 20]) {
      const { role, modelInputs, options } = setup(kind, 'x', { augment, memoryBudgetBytes });
      const source = await openTrainingSource(dataset, role, modelInputs, options);
      await secondsOf(source, () => undefined);
      const seconds = await secondsOf(source, () => undefined);
      rates.push(((EPOCHS * source.info.stepsPerEpoch * BATCH) / seconds).toFixed(0));
      await source.close();
    }
    console.log(
      `| ${augment.map((item) => (typeof item === 'string' ? item : item.name)).join(', ') || '(none)'} | ${rates.join(' | ')} |`,
    );
  }
  await dataset.close();
}

async function overlap(folder: string): Promise<void> {
  const kind = { channels: 1, side: 28 };
  const path = await makeSet(folder, kind);
  const runtime = createRuntime(folder);
  const session = await runtime.createSession(
    { path: 'examples/fashion-mnist/fashion-resnet8.onnx' },
    { threads: THREADS },
  );
  const input = session.inputs[0]?.name ?? '';
  console.log(`\nBeside forward passes of the example network (${THREADS} threads), batch ${BATCH}, ms a step`);
  console.log('| augment | steps alone | in this thread | in a thread of its own |\n|---|---|---|---|');
  for (const augment of [
    ['crop4', 'flip'],
    ['crop4', 'flip', 'rand-augment'],
  ] satisfies AugmentField[]) {
    const task = setup(kind, input, { augment });
    const dataset = await openDataset(path);
    const plain = await openTrainingSource(dataset, task.role, task.modelInputs, task.options);
    const ahead = await openPrefetchedSource({ ...task, path });
    const step = (feeds: Feeds) => session.run({ ...feeds });
    const steps = EPOCHS * plain.info.stepsPerEpoch;
    const fixed: Feeds[] = [];
    for await (const { feeds } of plain.epoch(0)) {
      fixed.push(feeds);
      break;
    }
    const alone = performance.now();
    for (let i = 0; i < steps; i += 1) await session.run(fixed[0] ?? {});
    const ms = [(performance.now() - alone) / 1000, await secondsOf(plain, step), await secondsOf(ahead, step)];
    console.log(
      `| ${augment.join(', ')} | ${ms.map((seconds) => ((seconds * 1000) / steps).toFixed(2)).join(' | ')} |`,
    );
    await ahead.close();
    await plain.close();
    await dataset.close();
  }
  await session.release();
}

export async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tersor-bench-'));
  try {
    await throughput(folder);
    await overlap(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
