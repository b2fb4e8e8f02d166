import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Model } from '../../../src/onnx/model.ts';
import { estimateFloatNs } from '../../../src/passes/cost/float-latency.ts';
import type { PassContext, PassResult } from '../../../src/passes/pass.ts';
import { scheduleRecipe } from '../../../src/passes/pass-manager.ts';
import { searchArchitecture } from '../../../src/passes/search/architecture.ts';
import { searchCompression } from '../../../src/passes/search/compression.ts';
import type { Limits } from '../../../src/passes/search/goals.ts';
import { jobLimits, type InputAccuracy } from '../../../src/passes/search/job-limits.ts';
import type { TrialRunner } from '../../../src/passes/trials.ts';
import type { TrialResult, TrialSpec } from '../../../src/schemas/trial.ts';
import { buildArchitecture, type ArchitectureRequest } from '../../../src/zoo/build-architecture.ts';
import { blockedTable } from '../cost/helpers.ts';
import { contextOf, jobModel } from './pictures.ts';

const inJob = (changes: Partial<PassContext>): PassContext => ({
  ...contextOf(),
  costTable: blockedTable(),
  modelField: 'mdl_0123456789abcdef',
  ...changes,
});

const known = (accuracy: number, metric = 'top1'): InputAccuracy => {
  return () => Promise.resolve({ accuracy, metric });
};
const limitsOf = (own: Limits, changes: Partial<PassContext>, accuracy: InputAccuracy = known(0.9)) =>
  jobLimits(own, jobModel(), accuracy, inJob(changes));
const estimateMs = (model: Model): number => (estimateFloatNs(blockedTable(), model) ?? NaN) / 1e6;

describe('limits of a search from the constraints of its job', () => {
  it('are the accuracy that may be left, bytes, and times by the estimate', async () => {
    const constraints = { maxAccuracyDrop: 0.02, maxBytes: 1000, minSpeedup: 2 };
    const { constraints: limits, open, warnings } = await limitsOf({}, { constraints });
    assert.ok(Math.abs((limits.minAccuracy ?? 0) - 0.88) < 1e-9);
    assert.equal(limits.maxBytes, 1000);
    assert.equal(limits.maxLatencyEstimateMs, estimateMs(jobModel()) / 2);
    assert.deepEqual([[...open], warnings], [['maxLatencyEstimateMs'], []]);
    const tight = { constraints: { ...constraints, maxLatencyP50Ms: 1e-9 } };
    assert.equal((await limitsOf({}, tight)).constraints.maxLatencyEstimateMs, 1e-9);
  });

  it('allow an error to grow by the share', async () => {
    const { constraints } = await limitsOf({}, { constraints: { maxAccuracyDrop: 0.5 } }, known(2, 'rmse'));
    assert.ok(Math.abs((constraints.minAccuracy ?? 0) - 3) < 1e-9);
  });

  it('give way to tighter ones of the step, and to no looser ones', async () => {
    const constraints = { maxAccuracyDrop: 0.1, maxBytes: 1000, maxLatencyP50Ms: 5 };
    const tight = { minAccuracy: 0.85, maxBytes: 900, maxLatencyEstimateMs: 4, maxMacs: 7 };
    const limited = await limitsOf(tight, { constraints });
    assert.deepEqual(limited.constraints, tight);
    assert.equal(limited.open.size, 0, 'what the step limits has to have the figure');
    const loose = await limitsOf({ minAccuracy: 0.5, maxBytes: 1100, maxLatencyEstimateMs: 6 }, { constraints });
    assert.ok(Math.abs((loose.constraints.minAccuracy ?? 0) - 0.8) < 1e-9);
    assert.deepEqual([loose.constraints.maxBytes, loose.constraints.maxLatencyEstimateMs], [1000, 5]);
    const rmse = await limitsOf({ minAccuracy: 2.1 }, { constraints }, known(2, 'rmse'));
    assert.equal(rmse.constraints.minAccuracy, 2.1, 'of an error the smaller one is tighter');
  });

  it('are none where the job asks for nothing, and ask for no accuracy then', async () => {
    const asked = () => Promise.reject(new Error('asked'));
    const { constraints, warnings } = await limitsOf({ maxBytes: 3 }, { constraints: {} }, asked);
    assert.deepEqual([constraints, warnings], [{ maxBytes: 3 }, []]);
    assert.deepEqual((await limitsOf({}, { constraints: { maxBytes: 3 } }, asked)).constraints, { maxBytes: 3 });
  });

  it('say what is left to the verdict', async () => {
    const constraints = { maxAccuracyDrop: 0.02, minSpeedup: 2, maxBytes: 1000 };
    const trainedAnew = await limitsOf({}, { constraints }, 'the winner is trained anew');
    assert.equal(trainedAnew.constraints.minAccuracy, undefined);
    assert.deepEqual(trainedAnew.warnings, [
      'maxAccuracyDrop is judged on the result alone: the winner is trained anew',
    ]);
    const unknown = await limitsOf({}, { constraints }, () => Promise.resolve(undefined));
    assert.match(unknown.warnings[0] ?? '', /accuracy of the input model is not known/);
    const followed = await limitsOf({ maxMacs: 5 }, { constraints, stepsAhead: true });
    assert.deepEqual(followed.constraints, { maxMacs: 5 });
    assert.match(followed.warnings[0] ?? '', /^steps follow the search, so maxAccuracyDrop, minSpeedup, maxBytes /);
    const { costTable } = contextOf();
    const untimed = await limitsOf({}, { constraints, costTable });
    assert.equal(untimed.constraints.maxLatencyEstimateMs, undefined);
    assert.match(untimed.warnings[0] ?? '', /cost table is empty/);
  });

  it('hold for the last step of a recipe', () => {
    const steps = [{ pass: 'search.compression' }, { pass: 'quantize.dynamic' }];
    const ahead = (given: typeof steps): boolean[] =>
      scheduleRecipe({ version: 1, steps: given })
        .filter(({ implicit }) => !implicit)
        .map(({ stepsAhead }) => stepsAhead);
    assert.deepEqual([ahead(steps), ahead(steps.slice(0, 1))], [[true, false], [false]]);
  });
});

/** Trials by a table of results; the models are the job's. */
class FakeTrials implements TrialRunner {
  readonly concluding = false;
  readonly ran: TrialSpec[] = [];
  readonly #resultOf: (spec: TrialSpec) => TrialResult;

  constructor(resultOf: (spec: TrialSpec) => TrialResult) {
    this.#resultOf = resultOf;
  }

  run(specs: readonly TrialSpec[]): Promise<readonly TrialResult[]> {
    this.ran.push(...specs);
    return Promise.resolve(specs.map((spec) => this.#resultOf(spec)));
  }

  models(specs: readonly TrialSpec[]): Promise<readonly Model[]> {
    return Promise.resolve(
      specs.map(({ model, seed }) =>
        typeof model === 'string' ? jobModel() : buildArchitecture(model as ArchitectureRequest, seed),
      ),
    );
  }
}

interface Details {
  readonly best: number;
  readonly bestOverall: number;
  readonly constraints: Limits;
  readonly trials: readonly { readonly point: Readonly<Record<string, unknown>>; readonly violation: number }[];
}
const detailsOf = ({ details }: PassResult): Details => details as unknown as Details;

describe('search.compression under the constraints of its job', () => {
  const ratios = [0.3, 0.5, 0.7, 0.9];
  const ratioOf = ({ recipe }: TrialSpec): number => Number(recipe.steps[0]?.['macsRatio']);
  /** The input has 90 %; the more is kept, the more accurate and the larger. */
  const resultOf = (spec: TrialSpec): TrialResult => {
    const ratio = ratioOf(spec);
    return Number.isNaN(ratio)
      ? { status: 'succeeded', metric: 'top1', accuracy: 0.9, bytes: 1000, macs: 1000 }
      : { status: 'succeeded', metric: 'top1', accuracy: 0.8 + ratio / 10, bytes: 1000 * ratio, macs: 1000 * ratio };
  };
  const searched = async (
    constraints: PassContext['constraints'],
    given: Record<string, unknown> = {},
    trials = new FakeTrials(resultOf),
  ) => {
    const options = searchCompression.options.parse({
      steps: [{ pass: 'prune.channels', macsRatio: { search: ratios } }],
      trials: 4,
      batch: 4,
      warmStart: false,
      ...given,
    });
    const result = await searchCompression.run(jobModel(), options, inJob({ trials, constraints: constraints ?? {} }));
    const details = detailsOf(result);
    const bestRatio = details.trials[details.best]?.point['steps.0.macsRatio'];
    return { ...details, warnings: result.warnings, bestRatio, trials };
  };

  it('takes no candidate beyond maxBytes, however accurate', async () => {
    assert.equal((await searched({})).bestRatio, 0.9);
    const { bestRatio, best, bestOverall, constraints } = await searched({ maxBytes: 700 });
    assert.equal(bestRatio, 0.7);
    assert.notEqual(best, bestOverall);
    assert.deepEqual(constraints, { maxBytes: 700 });
  });

  it('takes no candidate that loses more accuracy than maxAccuracyDrop, however small', async () => {
    const smallest = { objectives: ['bytes', 'accuracy'], evaluationSamples: 50 };
    assert.equal((await searched({}, smallest)).bestRatio, 0.3);
    const { bestRatio, trials, warnings } = await searched({ maxAccuracyDrop: 0.03 }, smallest);
    // 0.9 - 0.03 = 0.87, which 0.8 + 0.7 / 10 just has.
    assert.equal(bestRatio, 0.7);
    assert.deepEqual(warnings, []);
    const measured = trials.ran.filter((spec) => Number.isNaN(ratioOf(spec)));
    assert.deepEqual(
      measured.map(({ recipe, evaluationSamples, measure }) => [recipe.steps, evaluationSamples, measure]),
      [[[{ pass: 'canonicalize' }], 50, 'light']],
      'the input is measured once, on the samples of the candidates',
    );
  });

  it('measures no input where nothing goes by its accuracy', async () => {
    assert.equal((await searched({ maxBytes: 700 })).trials.ran.length, 4);
  });

  it('goes by estimates of time where there are some, and says where there are none', async () => {
    const before = estimateMs(jobModel());
    const timed = new FakeTrials((spec) => ({ ...resultOf(spec), latencyEstimateMs: before * ratioOf(spec) }));
    const { bestRatio, warnings } = await searched({ minSpeedup: 1.9 }, {}, timed);
    assert.equal(bestRatio, 0.5);
    assert.deepEqual(warnings, []);
    const partly = new FakeTrials((spec) => ({
      ...resultOf(spec),
      ...(ratioOf(spec) === 0.9 ? {} : { latencyEstimateMs: before * ratioOf(spec) }),
    }));
    const blind = await searched({ minSpeedup: 1.9 }, {}, partly);
    assert.equal(blind.bestRatio, 0.9, 'what has no estimate does not miss the limit');
    assert.match(blind.warnings[0] ?? '', /^1 of 4 candidates have no estimate of their time/);
    const strict = await searched({ minSpeedup: 1.9 }, { constraints: { maxLatencyEstimateMs: before } }, partly);
    assert.equal(strict.bestRatio, 0.5, "the step's own limit asks for the figure");
  });
});

describe('search.architecture under the constraints of its job', () => {
  const space = { architecture: 'mlp', width: { search: [4, 8, 16, 32] } };
  const widthOf = ({ model }: TrialSpec): number => Number((model as ArchitectureRequest)['width']);
  const resultOf = (spec: TrialSpec): TrialResult =>
    typeof spec.model === 'string'
      ? { status: 'succeeded', metric: 'top1', accuracy: 0.9, bytes: 10 }
      : { status: 'succeeded', metric: 'top1', accuracy: 0.8 + widthOf(spec) / 400, bytes: widthOf(spec) };
  const searched = async (constraints: PassContext['constraints'], given: Record<string, unknown> = {}) => {
    const trials = new FakeTrials(resultOf);
    const options = searchArchitecture.options.parse({
      space,
      objectives: ['accuracy'],
      training: { epochs: 1, batchSize: 12 },
      trials: 4,
      batch: 4,
      ...given,
    });
    const result = await searchArchitecture.run(jobModel(), options, inJob({ trials, constraints: constraints ?? {} }));
    const details = detailsOf(result);
    return { trials, warnings: result.warnings, width: details.trials[details.best]?.point['width'] };
  };

  it('takes no candidate beyond maxBytes, nor one that loses too much accuracy', async () => {
    assert.equal((await searched({})).width, 32);
    assert.equal((await searched({ maxBytes: 16 })).width, 16);
    assert.equal((await searched({ maxAccuracyDrop: 0.05 }, { objectives: ['bytes'] })).width, 32);
    assert.equal((await searched({}, { objectives: ['bytes'] })).width, 4);
  });

  it('trains no candidate whose estimate is beyond maxLatencyP50Ms', async () => {
    const request = { architecture: 'mlp', width: 8, inputSize: 8, inputChannels: 1, classes: 3 };
    const { trials, width } = await searched({ maxLatencyP50Ms: estimateMs(buildArchitecture(request, 0)) });
    assert.equal(width, 8);
    assert.deepEqual(
      trials.ran.map(widthOf).toSorted((a, b) => a - b),
      [4, 8],
    );
  });

  it('leaves the accuracy of a winner that is trained anew to the verdict, and says so', async () => {
    const { trials, warnings, width } = await searched(
      { maxAccuracyDrop: 0.05 },
      { objectives: ['bytes'], finalTraining: { epochs: 5, batchSize: 12 } },
    );
    assert.equal(width, 4);
    assert.match(warnings[0] ?? '', /^maxAccuracyDrop is judged on the result alone: the winner is trained anew/);
    assert.ok(trials.ran.every(({ model }) => typeof model !== 'string'));
  });
});
