import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ErrorCode } from '../../src/errors.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { npy, npyHeader, zip } from '../data/archives.ts';
import { LiveService } from './live-service.ts';

const NET = { architecture: 'resnet', depth: 8, width: 0.25, classes: 3, inputSize: 8, inputChannels: 1 };
const SAMPLES = 48;

interface Arrays {
  readonly samples?: number;
  /** Of an image, without the sample axis. */
  readonly shape?: readonly number[];
  readonly labels?: readonly number[] | undefined;
  readonly change?: (images: Float32Array) => void;
}

function dataset({ samples = SAMPLES, shape = [1, 8, 8], change, ...given }: Arrays): Buffer {
  const images = Float32Array.from({ length: samples * shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i));
  change?.(images);
  const x = npy(npyHeader('<f4', `(${[samples, ...shape].join(', ')})`), new Uint8Array(images.buffer));
  const labels = 'labels' in given ? given.labels : Array.from({ length: samples }, (_, i) => i % 3);
  if (labels === undefined) return zip([{ name: 'images.npy', data: x }]);
  const ids = npy(npyHeader('<i4', `(${labels.length},)`), new Uint8Array(Int32Array.from(labels).buffer));
  return zip([
    { name: 'images.npy', data: x },
    { name: 'labels.npy', data: ids },
  ]);
}

const labelsWith = (wrong: number): number[] => Array.from({ length: SAMPLES }, (_, i) => (i === 40 ? wrong : i % 3));

const WRONG: readonly (readonly [what: string, arrays: Arrays, code: ErrorCode, words: RegExp])[] = [
  ['a label past the last class', { labels: labelsWith(3) }, 'DATASET_LABELS', /3/],
  ['a negative label', { labels: labelsWith(-1) }, 'DATASET_LABELS', /-1/],
  ['no labels', { labels: undefined }, 'DATASET_LABELS', /labels/],
  ['images of another size', { shape: [1, 9, 8] }, 'DATASET_SHAPE', /9/],
  ['images of three channels', { shape: [3, 8, 8] }, 'DATASET_SHAPE', /3/],
  ['fewer samples than a batch', { samples: 10 }, 'DATASET_TOO_SMALL', /batchSize/],
  ['one NaN among the inputs', { change: (images) => (images[2000] = NaN) }, 'DATASET_VALUES', /NaN|finite/],
  ['an infinite input', { change: (images) => (images[2000] = Infinity) }, 'DATASET_VALUES', /finite/],
];

describe('training data that are wrong end a job before its first epoch', () => {
  let service: LiveService;
  let model: string;
  before(async () => {
    service = await LiveService.start();
    model = await service.uploaded('models', encodeModel(buildArchitecture(NET, 1)));
  });
  after(() => service.stop());

  const events = async (id: string): Promise<string> => String((await service.request(`/v1/jobs/${id}/events`)).body);

  for (const step of [
    { pass: 'train.finetune' },
    { pass: 'distill', student: { ...NET, width: 0.125 }, baseline: true },
  ]) {
    const run = async (bytes: Buffer) => {
      const training = await service.uploaded('datasets', bytes);
      return service.run({
        model,
        recipe: { version: 1, steps: [{ ...step, training: { epochs: 2, batchSize: 16 } }] },
        data: { training: { dataset: training } },
      });
    };

    it(`${step.pass}: the same set without a fault is trained on`, async () => {
      const job = await run(dataset({}));
      assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
      // What the others are told apart by.
      assert.match(await events(job.id), /epoch \d of 2/);
    });

    for (const [what, arrays, code, words] of WRONG) {
      it(`${step.pass}: ${what}`, async () => {
        const job = await run(dataset(arrays));
        assert.equal(job.status, 'failed');
        assert.equal(job.error?.code, code, job.error?.message);
        assert.match(job.error.message, words);
        assert.equal(job.attempt, 1, 'not tried again: the data will not change');
        assert.doesNotMatch(await events(job.id), /epoch \d/);
      });
    }
  }
});
