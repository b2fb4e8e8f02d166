import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { writeNpz } from '../../src/data/npz-writer.ts';
import type { CompressionError } from '../../src/errors.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import type { AugmentField } from '../../src/schemas/training-data.ts';
import { bindJobData } from '../../workers/job-data.ts';
import { JobTask } from '../../workers/protocol.ts';
import { EXAMPLE, FASHION } from '../helpers/worker-service.ts';

const SAMPLES = 24;
const CROP: AugmentField = [{ name: 'random-resized-crop', scale: [0.5, 1], ratio: [0.75, 1.3] }];

describe('bindJobData', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-job-data-'));
    const side = 40;
    await writeNpz(join(folder, 'large.npz'), {
      images: {
        type: 'uint8',
        dims: [SAMPLES, side, side],
        data: Uint8Array.from({ length: SAMPLES * side * side }, (_, i) => (i * 31) % 256),
      },
      labels: {
        type: 'int64',
        dims: [SAMPLES],
        data: BigInt64Array.from({ length: SAMPLES }, (_, i) => BigInt(i % 10)),
      },
    });
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** A job that trains once for each list of augmentations. */
  const task = (...augmentations: AugmentField[]): JobTask =>
    JobTask.parse({
      kind: 'job',
      jobId: 'job_1',
      attempt: 1,
      model: 'mdl_0000000000000000000000',
      recipe: {
        version: 1,
        steps: augmentations.map((augment) => ({ pass: 'train.finetune', training: { augment } })),
      },
      data: { training: { dataset: 'dst_0000000000000000000000', path: 'large.npz' } },
      preprocess: FASHION,
      constraints: {},
      target: { cpu: 'portable' },
      threads: 1,
      seed: 0,
      costTablePath: 'costs.json',
      snapshotSeconds: 60,
    });

  it('takes training images larger than the model where every step cuts them to its size', async () => {
    const model = await loadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    for (const augment of [CROP, ['flip', 'random-resized-crop'] satisfies AugmentField]) {
      const data = await bindJobData(task(augment), model, folder);
      const source = await data.openTraining?.({ batchSize: 8, seed: 0, augment });
      assert.ok(source !== undefined);
      try {
        assert.equal(source.info.samples, SAMPLES);
        for await (const { feeds } of source.epoch(0)) {
          assert.deepEqual(
            Object.values(feeds).map(({ dims }) => dims),
            [[8, 1, 28, 28]],
          );
        }
      } finally {
        await source.close();
        await data.close();
      }
    }
  });

  it('refuses them before anything runs where a step takes them as they are', async () => {
    const model = await loadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    for (const job of [task(['flip']), task(CROP, [])]) {
      await assert.rejects(bindJobData(job, model, folder), (error: CompressionError) => {
        assert.equal(error.code, 'DATASET_SHAPE');
        return true;
      });
    }
  });
});
