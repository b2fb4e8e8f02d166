import { keyedRandom } from '../../../src/data/training/keyed-random.ts';
import type { TrainingSource } from '../../../src/data/training/training-source.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import type { FeedSource, PassContext, StepCheckpoint } from '../../../src/passes/pass.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { emptyCostTable } from '../../../src/passes/cost/kernel-cost-table.ts';
import { runtime } from '../../training/helpers.ts';

const SIDE = 8;
const CLASSES = 3;

/** Pictures of a bright row: which third it lies in is the class. */
function picture(sample: number): Float32Array {
  const random = keyedRandom(13, sample);
  const label = sample % CLASSES;
  const row = Math.floor(((label + 0.5) * SIDE) / CLASSES);
  return Float32Array.from(
    { length: SIDE * SIDE },
    (_, i) => (Math.floor(i / SIDE) === row ? 1.5 : 0) + 0.3 * random.normal(),
  );
}

function batchOf(indices: readonly number[]): { feeds: Record<string, NdArray>; labels: NdArray; count: number } {
  const data = new Float32Array(indices.length * SIDE * SIDE);
  for (const [place, index] of indices.entries()) data.set(picture(index), place * SIDE * SIDE);
  return {
    feeds: { image: { type: 'float', dims: [indices.length, 1, SIDE, SIDE], data } },
    labels: { type: 'int64', dims: [indices.length], data: BigInt64Array.from(indices, (i) => BigInt(i % CLASSES)) },
    count: indices.length,
  };
}

export function pictureFeeds(from: number, samples: number): FeedSource {
  return {
    samples,
    async *batches(size = 12) {
      for (let at = 0; at < samples; at += size)
        yield await Promise.resolve(batchOf(Array.from({ length: size }, (_, i) => from + at + i)));
    },
  };
}

function pictureSource(samples = 48, batchSize = 12): TrainingSource {
  const stepsPerEpoch = samples / batchSize;
  return {
    info: {
      samples,
      validationSamples: 24,
      batchSize,
      stepsPerEpoch,
      arrays: new Map([['image', 'image']]),
      labels: { array: 'labels', kind: 'class' },
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 4 * SIDE * SIDE,
      warnings: [],
    },
    async *epoch(epoch, fromStep = 0) {
      for (let step = fromStep; step < stepsPerEpoch; step += 1) {
        await Promise.resolve();
        const indices = Array.from({ length: batchSize }, (_, i) => (step * batchSize + i + 5 * epoch) % samples);
        yield { ...batchOf(indices), epoch, step, samples: Uint32Array.from(indices) };
      }
    },
    validation: () => pictureFeeds(10_000, 24),
    close: () => Promise.resolve(),
  };
}

/** What a search replaces: its input is named "image". */
export function jobModel(): Model {
  const model = buildArchitecture(
    { architecture: 'mlp', width: 4, inputSize: SIDE, inputChannels: 1, classes: CLASSES },
    1,
  );
  for (const list of [model.graph.inputs, ...model.graph.nodes.map((node) => node.inputs)] as const) {
    for (const [index, item] of list.entries()) {
      if (item === 'input') list[index] = 'image';
      else if (typeof item === 'object' && item.name === 'input') list[index] = { ...item, name: 'image' };
    }
  }
  return model;
}

/** Keeps nothing. */
export const nothing: StepCheckpoint = { load: () => Promise.resolve(undefined), save: () => Promise.resolve() };

export function contextOf(checkpoint: StepCheckpoint = nothing, signal = new AbortController().signal): PassContext {
  return {
    runtime,
    threads: 1,
    seed: 4,
    targetCpu: 'portable',
    data: { evaluation: pictureFeeds(20_000, 24), training: pictureFeeds(0, 48) },
    openTraining: () => Promise.resolve(pictureSource()),
    costTable: emptyCostTable(),
    cpuFlags: new Set(),
    checkpoint,
    signal,
    progress: () => undefined,
    log: () => undefined,
  };
}
