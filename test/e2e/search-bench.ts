import assert from 'node:assert/strict';
import { keyedRandom } from '../../src/data/training/keyed-random.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import type { Job } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { searchDetailsOf, type SearchDetails } from '../../src/schemas/search-report.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { npy, npyHeader, zip } from '../data/archives.ts';
import { blockedTable } from '../passes/cost/helpers.ts';
import { LiveService } from './live-service.ts';

const SIDE = 8;
const CLASSES = 3;
const PATIENCE_MS = 600_000; // a job takes seconds, on a machine that trains besides minutes

/** Pictures with a bright row: the third of the picture that it lies in is the class. */
function pictures(samples: number, seed: number): Buffer {
  const images = new Float32Array(samples * SIDE * SIDE);
  for (let sample = 0; sample < samples; sample++) {
    const random = keyedRandom(seed, sample);
    const row = Math.floor((((sample % CLASSES) + 0.5) * SIDE) / CLASSES);
    for (let i = 0; i < SIDE * SIDE; i++)
      images[sample * SIDE * SIDE + i] = (Math.floor(i / SIDE) === row ? 1.5 : 0) + 0.5 * random.normal();
  }
  const labels = Int32Array.from({ length: samples }, (_, sample) => sample % CLASSES);
  return zip([
    {
      name: 'images.npy',
      data: npy(npyHeader('<f4', `(${samples}, 1, ${SIDE}, ${SIDE})`), new Uint8Array(images.buffer)),
    },
    { name: 'labels.npy', data: npy(npyHeader('<i4', `(${samples},)`), new Uint8Array(labels.buffer)) },
  ]);
}

/** The service, a network of 8 layers that it has trained in seconds, and data: what a search needs. */
export class SearchBench {
  readonly service: LiveService;
  readonly model: string;
  readonly #data: Readonly<Record<'training' | 'evaluation' | 'calibration', { readonly dataset: string }>>;

  static async start(): Promise<SearchBench> {
    const service = await LiveService.start({}, blockedTable());
    const uploaded = async (samples: number, seed: number) => ({
      dataset: await service.uploaded('datasets', pictures(samples, seed)),
    });
    const data = {
      training: await uploaded(96, 1),
      evaluation: await uploaded(60, 2),
      calibration: await uploaded(24, 3),
    };
    const net = { architecture: 'resnet', depth: 8, width: 0.5, classes: CLASSES, inputSize: SIDE, inputChannels: 1 };
    const trained = await service.run(
      {
        model: await service.uploaded('models', encodeModel(buildArchitecture(net, 1))),
        recipe: { version: 1, steps: [{ pass: 'train.finetune', training: { epochs: 4, batchSize: 16 } }] },
        data: { training: data.training },
      },
      PATIENCE_MS,
    );
    assert.equal(trained.status, 'succeeded', JSON.stringify(trained.error));
    const bytes = await service.artifact(trained, 'model.onnx');
    return new SearchBench({ service, data, model: await service.uploaded('models', bytes) });
  }

  private constructor(parts: {
    readonly service: LiveService;
    readonly data: Readonly<Record<'training' | 'evaluation' | 'calibration', { readonly dataset: string }>>;
    readonly model: string;
  }) {
    this.service = parts.service;
    this.model = parts.model;
    this.#data = parts.data;
  }

  /** Runs a job that has to succeed, on the trained model unless given, with all of the data but those of `without`. */
  async run(
    recipe: unknown,
    changes: {
      readonly model?: string;
      readonly constraints?: Readonly<Record<string, number>>;
      readonly without?: readonly string[];
    } = {},
  ): Promise<{ readonly job: Job; readonly report: Report; readonly artifacts: readonly string[] }> {
    const { model = this.model, constraints = {}, without = [] } = changes;
    const data = Object.fromEntries(Object.entries(this.#data).filter(([role]) => !without.includes(role)));
    const job = await this.service.run({ model, recipe, data, constraints, seed: 3 }, PATIENCE_MS);
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
    const report = Report.parse((await this.service.request(`/v1/jobs/${job.id}/report`)).body);
    return {
      job,
      report,
      artifacts: report.artifacts.map(({ name }) => name).filter((name) => name.endsWith('.onnx')),
    };
  }

  /** Runs a search alone, as the only step of its recipe. */
  async search(step: { readonly pass: string } & Readonly<Record<string, unknown>>) {
    const run = await this.run({ version: 1, steps: [step] });
    const reported = run.report.steps.find(({ pass }) => pass === step.pass);
    const details: SearchDetails | undefined = reported && searchDetailsOf(reported);
    return { ...run, details, raw: reported?.details ?? {} };
  }

  stop(): Promise<void> {
    return this.service.stop();
  }
}
