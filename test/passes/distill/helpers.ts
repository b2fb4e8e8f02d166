import type { BatchOptions, Dataset } from '../../../src/data/dataset.ts';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import { openTrainingSource } from '../../../src/data/training/training-source.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { contextOf, source } from '../quantize/helpers.ts';

export const SIDE = 8;
export const CLASSES = 3;

/**
 * Samples of three classes: each a pattern of stripes (horizontal, vertical, checks) with a random sign, under as much
 * noise as signal. A convolution learns them in some steps, nothing linear does.
 */
export function stripes(samples: number, noise = 1, seed = 5): Dataset {
  const random = new SeededRandom(seed);
  const size = SIDE * SIDE;
  const images = new Float32Array(samples * size);
  const labels = new BigInt64Array(samples);
  for (let sample = 0; sample < samples; sample += 1) {
    const label = sample % CLASSES;
    labels[sample] = BigInt(label);
    const sign = random.normal() > 0 ? 1 : -1;
    for (let i = 0; i < size; i += 1) {
      const [row, column] = [Math.floor(i / SIDE), i % SIDE];
      const phase = [row, column, row + column][label]! % 2 === 0 ? 1 : -1;
      images[sample * size + i] = sign * phase + noise * random.normal();
    }
  }
  return memoryDataset(images, labels);
}

function memoryDataset(images: Float32Array, labels: BigInt64Array): Dataset {
  const samples = labels.length;
  const size = images.length / samples;
  return {
    info: {
      kind: 'npz',
      samples,
      arrays: [
        { name: 'images', type: 'float', shape: [samples, 1, SIDE, SIDE] },
        { name: 'labels', type: 'int64', shape: [samples] },
      ],
    },
    async *batches({ from = 0, to = samples, batchSize, names }: BatchOptions) {
      for (let at = from; at < to; at += batchSize) {
        const count = Math.min(batchSize, to - at);
        const all = {
          images: {
            type: 'float' as const,
            dims: [count, 1, SIDE, SIDE],
            data: images.slice(at * size, (at + count) * size),
          },
          labels: { type: 'int64' as const, dims: [count], data: labels.slice(at, at + count) },
        };
        const arrays = Object.fromEntries(Object.entries(all).filter(([name]) => names?.includes(name) ?? true));
        yield await Promise.resolve({ from: at, count, arrays });
      }
    },
    close: () => Promise.resolve(),
  };
}

/** A context whose training data are `dataset`, bound to the inputs of `model`. */
export function trainingContext(model: Model, dataset: Dataset, changes: Partial<PassContext> = {}): PassContext {
  const inputs = model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name));
  return contextOf(undefined, {
    // The manager asks whether the role was given; steps read it through `openTraining`.
    data: { training: source('input', [1, 1, SIDE, SIDE]) },
    openTraining: (options) => openTrainingSource(dataset, { role: 'training' }, inputs, options),
    ...changes,
  });
}

const SIZES = { classes: CLASSES, inputSize: SIDE, inputChannels: 1 };
export const RESNET8 = { architecture: 'resnet', depth: 8, width: 0.25, ...SIZES };

/** A ResNet-8 with 4, 8 and 16 channels. */
export function teacherNet(seed = 1, changes: Readonly<Record<string, unknown>> = {}): Model {
  return buildArchitecture({ ...RESNET8, ...changes }, seed);
}

export const TRAINING = { epochs: 2, batchSize: 16, learningRate: 0.05, validation: { fraction: 0.25 } };
