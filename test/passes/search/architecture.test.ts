import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { searchArchitecture } from '../../../src/passes/search/architecture.ts';
import { teacherOfWinner } from '../../../src/passes/search/train-winner.ts';
import { takeNames } from '../../../src/passes/replace-model.ts';
import { trainFinetune } from '../../../src/passes/train/finetune.ts';
import type { PassContext, PassResult } from '../../../src/passes/pass.ts';
import type { TrialRunner } from '../../../src/passes/trials.ts';
import { countWeightElements } from '../../../src/onnx/print/summarize-model.ts';
import type { Model } from '../../../src/onnx/model.ts';
import type { TrialResult, TrialSpec } from '../../../src/schemas/trial.ts';
import { buildArchitecture, type ArchitectureRequest } from '../../../src/zoo/build-architecture.ts';
import { countNetwork } from '../../../src/zoo/counts.ts';
import { RecordingCheckpoint } from './interrupted.ts';
import { contextOf, jobModel } from './pictures.ts';

/** Eight networks. */
const space = {
  architecture: 'staged',
  stemChannels: { search: [4, 6] },
  stages: [{ channels: { search: [4, 8] }, blocks: { search: [1, 2] }, stride: 2 }],
};
const FINAL_EPOCHS = 5;

/** What a trial trains: the student, where another model teaches. */
function networkOf({ model, recipe, seed }: TrialSpec): Model {
  const student = recipe.steps[0]?.['student'];
  return buildArchitecture((student ?? model) as ArchitectureRequest, seed);
}

const sizeOf = (spec: TrialSpec): number => countWeightElements(networkOf(spec));
const isFinal = ({ recipe }: TrialSpec): boolean => JSON.stringify(recipe).includes(`"epochs":${FINAL_EPOCHS}`);

const TRAINED: TrialResult = { status: 'succeeded', metric: 'top1', accuracy: 0.9 };

function figuresFrom(spec: TrialSpec) {
  const size = sizeOf(spec);
  return { accuracy: size / 10_000, macs: countNetwork(networkOf(spec)).macs, parameters: size };
}

/** Trials that train nothing: the larger the network, the more accurate. */
class FakeTrials implements TrialRunner {
  readonly concluding: boolean;
  readonly ran: TrialSpec[] = [];
  readonly fetched: TrialSpec[] = [];
  readonly #final: TrialResult | undefined;

  /** @param final - undefined: the end of the search was asked for before it had ended */
  constructor(final: TrialResult | undefined) {
    this.#final = final;
    this.concluding = final === undefined;
  }

  run(specs: readonly TrialSpec[]): Promise<readonly (TrialResult | undefined)[]> {
    this.ran.push(...specs);
    return Promise.resolve(
      specs.map((spec) =>
        isFinal(spec) ? this.#final : { status: 'succeeded', metric: 'top1', ...figuresFrom(spec) },
      ),
    );
  }

  models(specs: readonly TrialSpec[]): Promise<readonly Model[]> {
    this.fetched.push(...specs);
    return Promise.resolve(specs.map(networkOf));
  }
}

async function searched(
  given: Record<string, unknown>,
  trials: FakeTrials,
  changes: Partial<PassContext> = {},
): Promise<PassResult & { readonly model: Model }> {
  const model = jobModel();
  const options = searchArchitecture.options.parse({
    space,
    strategy: 'random',
    objectives: ['accuracy'],
    training: { epochs: 1, batchSize: 12 },
    trials: 3,
    batch: 2,
    ...given,
  });
  const context = { ...contextOf(), trials, modelField: 'mdl_0123456789abcdef', ...changes };
  return { ...(await searchArchitecture.run(model, options, context)), model };
}

/** Sizes of all networks of the space, the largest first. */
function sizes(): number[] {
  const all: number[] = [];
  for (const stemChannels of [4, 6])
    for (const channels of [4, 8])
      for (const blocks of [1, 2]) {
        const stages = [{ channels, blocks, stride: 2 }];
        const request = { architecture: 'staged', inputSize: 8, inputChannels: 1, classes: 3, stemChannels, stages };
        all.push(countWeightElements(buildArchitecture(request, 0)));
      }
  return all.toSorted((a, b) => b - a);
}

describe('search.architecture, candidates trained one by one', () => {
  const finalTraining = { epochs: FINAL_EPOCHS, batchSize: 12 };

  it('takes the winner as its final training leaves it', async () => {
    const trials = new FakeTrials(TRAINED);
    const { warnings, details, model } = await searched({ finalTraining }, trials);
    assert.deepEqual([warnings, details['cutShort']], [[], false]);
    assert.deepEqual(details['finalTraining'], { status: 'succeeded', metric: 'top1', accuracy: 0.9 });
    assert.deepEqual(trials.fetched.map(isFinal), [false, true]);
    assert.deepEqual(trials.ran.map(isFinal), [false, false, false, true]);
    const largest = Math.max(...trials.ran.map(sizeOf));
    assert.equal(countWeightElements(model), largest);
    assert.equal(model.graph.inputs[0]?.name, 'image');
  });

  it('keeps the winner as its trial left it when its final training fails, and says so', async () => {
    const error = { code: 'TRAIN_DIVERGED', message: 'the loss is not a number' };
    const trials = new FakeTrials({ status: 'failed', error });
    const { warnings, details, model } = await searched({ finalTraining }, trials);
    assert.deepEqual(warnings, [
      'the final training failed (the loss is not a number): the winner is as its trial left it',
    ]);
    assert.deepEqual(details['finalTraining'], { status: 'failed', error });
    assert.deepEqual(trials.fetched.map(isFinal), [false], 'a trial that failed has no model');
    assert.equal(countWeightElements(model), Math.max(...trials.ran.map(sizeOf)));
  });

  it('ended during the final training, hands out the winner as its trial left it, and says so', async () => {
    const trials = new FakeTrials(undefined);
    const { warnings, details, model } = await searched({ finalTraining }, trials);
    assert.deepEqual(warnings, [
      'the final training had not ended when the search was: the winner is as its trial left it',
    ]);
    assert.deepEqual([details['cutShort'], details['finalTraining']], [true, undefined]);
    assert.deepEqual(trials.fetched.map(isFinal), [false]);
    assert.equal(countWeightElements(model), Math.max(...trials.ran.map(sizeOf)));
  });

  it('has the winner taught by the model of the job, or by another that is named', async () => {
    const teacher = { model: 'mdl_fedcba9876543210' };
    for (const [given, expected] of [
      [{ teach: true }, undefined],
      [{ teacher }, teacher],
      [{ teach: true, teacher }, teacher],
    ] as const) {
      const trials = new FakeTrials(TRAINED);
      const parsed = searchArchitecture.options.parse({ space, finalTraining, ...given });
      assert.deepEqual(
        searchArchitecture.models?.(parsed),
        expected === undefined ? [] : [{ id: teacher.model, path: ['teacher', 'model'], as: 'teacher' }],
      );
      await searched({ finalTraining, ...given }, trials);
      const last = trials.ran.at(-1);
      const [step] = last?.recipe.steps ?? [];
      assert.equal(last?.model, 'mdl_0123456789abcdef');
      assert.deepEqual([step?.pass, step?.['teacher']], ['distill', expected]);
      assert.equal((step?.['student'] as ArchitectureRequest).architecture, 'staged');
    }
    for (const given of [{ teach: true }, { teacher }]) {
      const { error } = searchArchitecture.options.safeParse({ space, ...given });
      assert.match(error?.message ?? '', /give finalTraining/);
    }
  });

  it('finds the teacher for a training within the step', async () => {
    const model = jobModel();
    const other = jobModel();
    const context = { ...contextOf(), openModel: () => Promise.resolve(other) };
    assert.equal(await teacherOfWinner({ teach: false }, model, context), undefined);
    assert.equal(await teacherOfWinner({ teach: true }, model, context), model);
    const teacher = { model: 'mdl_fedcba9876543210' };
    assert.equal(await teacherOfWinner({ teach: false, teacher }, model, context), other);
    const unlike = { ...context, openModel: () => Promise.resolve(buildArchitecture({ architecture: 'mlp' }, 0)) };
    await assert.rejects(teacherOfWinner({ teach: false, teacher }, model, unlike), {
      code: 'PASS_PRECONDITION',
      message: /^search\.architecture: teacher: /,
    });
  });

  it('goes on with its progress from candidates to those at random, and to the final training', async () => {
    const told: number[] = [];
    const progress = (fraction: number): void => void told.push(fraction);
    const given = { finalTraining, compareWithRandom: true, proxy: 'parameters', proxyCandidates: 6 };
    await searched(given, new FakeTrials(TRAINED), { progress });
    assert.ok(told.length > 5);
    assert.deepEqual(
      told,
      told.toSorted((a, b) => a - b),
    );
    assert.ok((told.at(-1) ?? 1) < 0.8, 'the final training is to come');
  });
});

describe('search.architecture over the resolution', () => {
  const byResolution = { architecture: 'staged', stages: [{ channels: 4 }], resolution: { search: [4, 6, 8] } };
  const requestAt = (resolution: number): ArchitectureRequest => ({
    ...byResolution,
    resolution,
    inputSize: 8,
    inputChannels: 1,
    classes: 3,
  });
  const macsAt = (resolution: number): number => countNetwork(buildArchitecture(requestAt(resolution), 0)).macs;

  it('tries networks that work at each, all with the input of the model', async () => {
    const trials = new FakeTrials(TRAINED);
    const { model, details } = await searched({ space: byResolution, objectives: ['macs'] }, trials);
    const networks = trials.ran.map(networkOf);
    assert.deepEqual(
      networks.map(({ graph }) => JSON.stringify(graph.inputs[0]?.type)),
      Array.from({ length: 3 }, () => JSON.stringify(networks[0]?.graph.inputs[0]?.type)),
    );
    assert.deepEqual(
      networks.map((network) => countNetwork(network).macs).toSorted((a, b) => a - b),
      [4, 6, 8].map(macsAt),
    );
    assert.deepEqual(
      trials.ran.map(({ model: request }) => (request as ArchitectureRequest)['resolution']).toSorted(),
      [4, 6, 8],
    );
    assert.equal((details['winner'] as ArchitectureRequest)['resolution'], 4);
    assert.deepEqual([model.graph.inputs[0]?.name, countNetwork(model).macs], ['image', macsAt(4)]);
  });

  it('knows ahead of any training which are beyond the limits', async () => {
    const trials = new FakeTrials(TRAINED);
    const constraints = { maxMacs: macsAt(6) };
    const { model, details } = await searched({ space: byResolution, constraints }, trials);
    assert.equal(trials.ran.length, 2);
    assert.ok(macsAt(6) < macsAt(8));
    assert.ok(countNetwork(model).macs <= macsAt(6));
    const rows = details['trials'] as { status: string; macs: number }[];
    assert.deepEqual(
      rows.filter(({ status }) => status === 'rejected').map(({ macs }) => macs),
      [macsAt(8)],
    );
  });

  it('trains what stands behind the Resize', async () => {
    const model = buildArchitecture(requestAt(6), 1);
    takeNames(model, jobModel());
    const weight = (): number[] => [...(model.graph.initializers.get('stem.conv.weight')?.floats() ?? [])];
    const before = weight();
    const options = trainFinetune.options.parse({ training: { epochs: 6, batchSize: 12, learningRate: 0.1 } });
    const { training } = await trainFinetune.run(model, options, contextOf());
    const losses = training?.[0]?.epochs.map(({ loss }) => loss) ?? [];
    assert.ok((losses.at(-1) ?? Infinity) < 0.7 * (losses[0] ?? 0), losses.join(', '));
    assert.notDeepEqual(weight(), before);
  });
});

describe('search.architecture with a proxy', () => {
  it('trains those alone that are the best by the score', async () => {
    const trials = new FakeTrials(TRAINED);
    const { details } = await searched({ proxy: 'parameters', proxyCandidates: 8 }, trials);
    assert.deepEqual(trials.ran.map(sizeOf), sizes().slice(0, 3));
    const { score, candidates, scored, scores } = details['proxy'] as Record<string, unknown>;
    assert.deepEqual([score, candidates, scored], ['parameters', 8, 8]);
    assert.equal((scores as number[]).length, 3);
    assert.equal((details['trials'] as unknown[]).length, 3);
    assert.equal(details['best'], 0);
  });

  it('trains the fronts between the score and another objective', async () => {
    const trials = new FakeTrials(TRAINED);
    const objectives = ['accuracy', 'macs'];
    await searched({ proxy: 'parameters', proxyCandidates: 8, objectives, trials: 4 }, trials);
    const tried = trials.ran.map(sizeOf);
    assert.equal(new Set(trials.ran.map(({ model }) => JSON.stringify(model))).size, 4);
    assert.ok(tried.includes(sizes()[0] ?? 0), 'the largest is on the front');
  });

  it('scores within the limits that are known without training, and leaves the accuracy to it', async () => {
    const maxParameters = sizes()[2] ?? 0;
    const trials = new FakeTrials(TRAINED);
    const constraints = { maxParameters, minAccuracy: 2 };
    const { details } = await searched({ proxy: 'parameters', proxyCandidates: 8, trials: 2, constraints }, trials);
    assert.deepEqual(trials.ran.map(sizeOf), sizes().slice(2, 4));
    assert.equal((details['proxy'] as { candidates: number }).candidates, 6);
  });

  it('goes by a zero-cost score, whose rank correlation it reports, and scores no network again', async () => {
    const checkpoint = new RecordingCheckpoint();
    const first = new FakeTrials(TRAINED);
    const given = { proxy: 'naswot', proxyCandidates: 8 };
    const { details } = await searched(given, first, { checkpoint });
    const { scores } = details['proxy'] as { scores: number[] };
    assert.ok(scores.every(Number.isFinite));
    assert.deepEqual(
      scores,
      scores.toSorted((a, b) => b - a),
    );
    assert.deepEqual(Object.keys(details['correlations'] as object), ['parameters', 'macs', 'naswot']);
    // An attempt that goes on: with other data the scores would be others.
    let opened = 0;
    const openTraining: PassContext['openTraining'] = (options) => {
      opened += 1;
      const open = contextOf().openTraining;
      assert.ok(open);
      return open(options);
    };
    const second = new FakeTrials(TRAINED);
    await searched(given, second, { checkpoint, openTraining });
    assert.deepEqual(second.ran, first.ran);
    assert.equal(opened, 1, 'once, for the correlations');
  });

  it('refuses what it would say nothing about', () => {
    const refused = (given: Record<string, unknown>): readonly PropertyKey[] | undefined =>
      searchArchitecture.options.safeParse({ space, ...given }).error?.issues[0]?.path;
    assert.deepEqual(refused({ proxyCandidates: 64 }), ['proxyCandidates']);
    assert.deepEqual(refused({ proxy: 'snip', trials: 32, proxyCandidates: 8 }), ['proxyCandidates']);
    assert.deepEqual(refused({ proxy: 'snip', objectives: ['macs'] }), ['proxy']);
    const reward = { figure: 'macs', target: 1e6 };
    assert.deepEqual(refused({ proxy: 'snip', objectives: ['accuracy', 'reward'], reward }), ['proxy']);
    assert.deepEqual(refused({ proxy: 'snip', strategy: 'one-shot' }), ['proxy']);
    assert.equal(refused({ proxy: 'snip' }), undefined);
  });
});
