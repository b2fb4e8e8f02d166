import { tmpdir } from 'node:os';
import { bindFeeds } from '../../src/data/bind-feeds.ts';
import { openDataset } from '../../src/data/open-dataset.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import type { Model } from '../../src/onnx/model.ts';
import type { NdArray } from '../../src/onnx/nd-array.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { keyedRandom } from '../../src/data/training/keyed-random.ts';
import type { TrainingBatch } from '../../src/data/training/training-batch.ts';
import type { TrainingSource } from '../../src/data/training/training-source.ts';

export const runtime = createRuntime(tmpdir());

const EXAMPLE = 'examples/fashion-mnist';
const PREPROCESS = {
  scale: 1 / 255,
  mean: 0.286,
  std: 0.353,
  layout: 'nchw',
  channelOrder: 'rgb',
  resize: null,
} as const;

/** A network of the example's form as PyTorch exports it: what its golden values were made for. */
export function exampleModel(): Promise<Model> {
  return loadModel('test/fixtures/onnx/pytorch-resnet8.onnx');
}

export interface LabelledBatch {
  readonly feeds: Readonly<Record<string, NdArray>>;
  readonly labels: NdArray;
}

/** Batches of the example's calibration images, in file order. */
export async function exampleBatches(model: Model, batchSize: number, count: number): Promise<LabelledBatch[]> {
  const dataset = await openDataset(`${EXAMPLE}/calibration.npz`);
  try {
    const role = { role: 'training', preprocess: PREPROCESS, samples: batchSize * count } as const;
    const batches: LabelledBatch[] = [];
    for await (const { feeds, labels } of bindFeeds(dataset, role, model.graph.inputs).batches(batchSize)) {
      if (labels !== undefined) batches.push({ feeds, labels });
    }
    return batches;
  } finally {
    await dataset.close();
  }
}

export function randomTensor(name: string, dims: readonly number[], seed: number, deviation = 0.3): Tensor {
  const random = keyedRandom(seed);
  const count = dims.reduce((product, size) => product * size, 1);
  return Tensor.float(
    name,
    Float32Array.from({ length: count }, () => deviation * random.normal()),
    dims,
  );
}

/** A perceptron 4 -> 8 -> 3 with a hidden ReLU: trains in an instant. */
export function perceptron(): Model {
  const b = new GraphBuilder('perceptron');
  const x = b.input('x', 'float', ['batch', 4]);
  const weights = (name: string, dims: readonly number[], seed: number): string =>
    b.initializer(randomTensor(name, dims, seed));
  const hidden = b.op('Gemm', [x, weights('w1', [8, 4], 1), weights('b1', [8], 2)], {
    attributes: { transB: 1 },
    name: 'hidden',
  });
  const relu = b.op('Relu', [hidden]);
  const y = b.op('Gemm', [relu, weights('w2', [3, 8], 3), weights('b2', [3], 4)], {
    attributes: { transB: 1 },
    name: 'head',
  });
  b.output(y, 'scores', 'float', ['batch', 3]);
  return b.model(21);
}

/**
 * Points of three classes, one a corner, for `perceptron`; the order changes with the epoch.
 *
 * @param change - what is done to each batch before it is handed out
 */
export function cornerSource(options: {
  readonly samples?: number;
  readonly batchSize?: number;
  readonly change?: (batch: TrainingBatch) => TrainingBatch;
}): TrainingSource {
  const { samples = 48, batchSize = 8, change = (batch: TrainingBatch) => batch } = options;
  const stepsPerEpoch = Math.floor(samples / batchSize);
  const point = (sample: number): number[] => {
    const random = keyedRandom(7, sample);
    return [0, 1, 2, 3].map((axis) => (axis === sample % 3 ? 1 : 0) + 0.2 * random.normal());
  };
  const batchOf = (indices: readonly number[]): { feeds: Record<string, NdArray>; labels: NdArray; count: number } => ({
    feeds: { x: { type: 'float', dims: [indices.length, 4], data: Float32Array.from(indices.flatMap(point)) } },
    labels: { type: 'int64', dims: [indices.length], data: BigInt64Array.from(indices, (i) => BigInt(i % 3)) },
    count: indices.length,
  });
  return {
    info: {
      samples,
      validationSamples: 30,
      batchSize,
      stepsPerEpoch,
      arrays: new Map([['x', 'x']]),
      labels: { array: 'labels', kind: 'class' },
      classCounts: undefined,
      order: 'whole',
      bytesPerSample: 16,
      warnings: [],
    },
    async *epoch(epoch, fromStep = 0) {
      for (let step = fromStep; step < stepsPerEpoch; step += 1) {
        await Promise.resolve();
        const indices = Array.from({ length: batchSize }, (_, i) => (step * batchSize + i + 5 * epoch) % samples);
        yield change({ ...batchOf(indices), epoch, step, samples: Uint32Array.from(indices) });
      }
    },
    validation: () => ({
      samples: 30,
      async *batches(size = 10) {
        for (let from = 0; from < 30; from += size) {
          yield await Promise.resolve(batchOf(Array.from({ length: size }, (_, i) => 1000 + from + i)));
        }
      },
    }),
    close: () => Promise.resolve(),
  };
}
