import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { z } from 'zod';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import { autoDetailsOf, type SearchTrial } from '../../src/schemas/search-report.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { SearchBench } from './search-bench.ts';

/** How candidates are trained: enough to run through all of it. */
const BRIEFLY = { epochs: 2, batchSize: 16, learningRate: 0.05 };

/** Two channels, two depths, two kernels. */
const STAGED = {
  architecture: 'staged',
  uniform: true,
  stemChannels: 4,
  stages: [{ channels: { search: [4, 8] }, blocks: { search: [1, 2] }, kernel: { search: [3, 5] }, stride: 2 }],
};

const succeeded = (trials: readonly SearchTrial[]) => trials.filter(({ status }) => status === 'succeeded');
const figure = (value: number | undefined): number => {
  assert.ok(value !== undefined && Number.isFinite(value) && value > 0, `${value} is no figure`);
  return value;
};

/** The searches as their users run them: over HTTP, each trial a job with a process of its own, trainings of seconds. */
describe('searches through the service and its worker', () => {
  let bench: SearchBench;
  before(async () => {
    bench = await SearchBench.start();
  });
  after(() => bench.stop());

  it('auto: names the nearest candidates when nothing can meet the constraints', async () => {
    const { job, report, artifacts } = await bench.run('auto', {
      constraints: { maxBytes: 1000 },
      without: ['training'],
    });
    const [details] = report.steps.flatMap((step) => autoDetailsOf(step) ?? []);
    assert.ok(details);
    assert.deepEqual([job.verdict, report.verdict], ['missed', 'missed']);
    const { candidates, chosen, because, notTried } = details;
    assert.deepEqual(
      candidates.map(({ name }) => name),
      ['int8', 'prune-75-int8', 'prune-50-int8'],
    );
    assert.deepEqual(notTried, []);
    assert.deepEqual(job.trials, { asked: 3, done: 3 });
    assert.match(because ?? '', /no candidate meets every constraint, this one misses them least: 3 of 3/);
    const measured = candidates.filter(({ status }) => status === 'succeeded');
    const sizes = new Map(measured.map(({ name, bytes }) => [name, figure(bytes)]));
    assert.ok(figure(sizes.get('prune-75-int8')) < figure(sizes.get('int8')));
    assert.equal(sizes.get(chosen), Math.min(...sizes.values()));
    assert.equal(report.result.bytes, sizes.get(chosen));
    for (const candidate of measured) {
      assert.equal(candidate.verdict, 'missed');
      assert.ok(figure(candidate.bytesBefore) > figure(candidate.bytes));
      figure(candidate.latencyP50Ms);
    }
    const others = [...sizes.keys()].filter((name) => name !== chosen);
    assert.deepEqual([...artifacts].sort(), [...others.map((name) => `candidate-${name}.onnx`), 'model.onnx'].sort());
  });

  it('auto: stops at the first candidate that meets the constraints, and says why', async () => {
    // Products this wide are bound by reading their weights: a quarter of the bytes is not slower on any CPU.
    const model = encodeModel(
      buildArchitecture({ architecture: 'mlp', depth: 2, width: 1536, classes: 3, inputSize: 8, inputChannels: 1 }, 2),
    );
    const constraints = { maxBytes: Math.round(model.length / 3), maxAccuracyDrop: 0.5 };
    const { job, report, artifacts } = await bench.run('auto', {
      model: await bench.service.uploaded('models', model),
      constraints,
      without: ['training', 'calibration'],
    });
    const [details] = report.steps.flatMap((step) => autoDetailsOf(step) ?? []);
    assert.ok(details);
    assert.deepEqual([job.verdict, report.verdict], ['met', 'met'], JSON.stringify(report.constraints));
    assert.equal(details.chosen, 'int8-dynamic');
    assert.match(details.because ?? '', /needs no data; the first that meets every constraint: 1 of 2/);
    assert.deepEqual(
      details.candidates.map(({ name, verdict, missedBy }) => [name, verdict, missedBy]),
      [['int8-dynamic', 'met', 0]],
    );
    assert.deepEqual(details.notTried, ['int4-weights']);
    assert.deepEqual(job.trials, { asked: 1, done: 1 });
    assert.deepEqual(artifacts, ['model.onnx']);
    assert.equal(report.result.bytes, details.candidates[0]?.bytes);
    assert.deepEqual(
      report.constraints.map(({ name, met }) => [name, met]),
      [
        ['maxAccuracyDrop', true],
        ['maxBytes', true],
      ],
    );
  });

  for (const [strategy, trials] of [
    ['random', 2],
    ['evolution', 4],
  ] as const)
    it(`architecture, ${strategy}: trains candidates as jobs, and none that is beyond the limits`, async () => {
      const maxParameters = 900;
      const { job, report, details } = await bench.search({
        pass: 'search.architecture',
        space: STAGED,
        strategy,
        trials,
        batch: 2,
        keepFront: 0,
        objectives: ['accuracy', 'parameters'],
        constraints: { maxParameters },
        training: BRIEFLY,
      });
      assert.ok(details);
      assert.equal(details.strategy, strategy);
      const ran = succeeded(details.trials);
      assert.deepEqual(job.trials, { asked: ran.length, done: ran.length });
      assert.ok(ran.length >= 2 && ran.length <= trials);
      for (const { parameters, accuracy } of ran) {
        assert.ok(figure(parameters) <= maxParameters);
        assert.ok(accuracy !== undefined);
      }
      for (const { status, parameters } of details.trials)
        if (status === 'rejected') assert.ok(figure(parameters) > maxParameters);
      const best = details.trials.find(({ index }) => index === details.best);
      assert.equal(best?.accuracy, Math.max(...ran.map(({ accuracy }) => accuracy ?? 0)));
      assert.equal(report.result.accuracy?.value, best.accuracy);
      assert.deepEqual(
        report.model.inputs.map(({ name }) => name),
        ['input'],
      );
    });

  for (const [strategy, options, epochs] of [
    ['one-shot', { oneShot: { recalibrationSamples: 48 }, trials: 4, batch: 2, keepFront: 0 }, 4],
    ['darts', { darts: { recalibrationSamples: 48 }, space: { ...STAGED, stages: [darts()] } }, 1],
  ] as const)
    it(`architecture, ${strategy}: within the job, without trials`, async () => {
      const { job, report, raw } = await bench.search({
        pass: 'search.architecture',
        space: STAGED,
        strategy,
        training: { ...BRIEFLY, epochs },
        finalTraining: BRIEFLY,
        ...options,
      });
      assert.equal(raw['strategy'], strategy);
      assert.equal(job.trials, undefined);
      assert.ok(figure(report.result.parameters) < 2500, 'it has the network that was found, not the one it was given');
      assert.ok(report.result.accuracy !== undefined);
    });

  it('compression: a value for each layer from a warm start, by estimated time, the best of them timed', async () => {
    const { details, artifacts, report } = await bench.search({
      pass: 'search.compression',
      steps: [
        {
          pass: 'prune.channels',
          macsRatio: 0.75,
          scope: 'local',
          recover: 'least-squares',
          factors: { search: { layers: [0, 0.5, 1, 2] } },
        },
      ],
      strategy: 'nsga2',
      objectives: ['accuracy', 'latencyEstimateMs'],
      trials: 3,
      batch: 3,
    });
    assert.ok(details);
    const { dimensions } = details.space;
    assert.ok(dimensions.length >= 3, 'one for each layer');
    const alike = details.trials.filter(({ point }) => dimensions.every(({ name }) => point[name] === 1));
    assert.equal(alike.length, 1, 'the same value everywhere is one of the first');
    const ran = succeeded(details.trials);
    assert.ok(ran.length >= 2);
    for (const { latencyEstimateMs, macs } of ran) {
      figure(latencyEstimateMs);
      assert.ok(figure(macs) <= 0.76 * figure(report.baseline.macs));
    }
    // The best and the other points of the front.
    assert.equal(details.timing.length, artifacts.length);
    assert.equal(details.timing[0]?.index, details.best);
    for (const { index, latencyP50Ms } of details.timing) {
      figure(latencyP50Ms);
      assert.ok(details.front.includes(index) || index === details.bestOverall);
    }
  });

  it('compression: stops candidates early that are worse after a part of their training under a teacher', async () => {
    const training = { ...BRIEFLY, epochs: 4, learningRate: { search: { min: 0.0001, max: 0.1, log: true } } };
    const { job, details } = await bench.search({
      pass: 'search.compression',
      steps: [
        { pass: 'prune.channels', macsRatio: { search: [0.6, 0.75, 0.9] } },
        { pass: 'distill', student: 'self', teacher: { model: bench.model }, training },
      ],
      strategy: 'random',
      trials: 3,
      batch: 3,
      keepFront: 0,
      earlyStopping: { minBudget: 0.25, eta: 3 },
    });
    assert.ok(details);
    const stopped = details.trials.filter(({ status }) => status === 'stopped');
    assert.ok(stopped.length >= 1, JSON.stringify(details.trials));
    for (const { budget } of stopped) assert.ok(budget !== undefined && budget < 1);
    const best = details.trials.find(({ index }) => index === details.best);
    assert.equal(best?.status, 'succeeded');
    assert.ok(best.budget === undefined || best.budget === 1);
    // Each share of a training is a trial of its own.
    const Trials = z.object({ items: z.array(z.object({ recipe: z.object({ steps: z.array(z.looseObject({})) }) })) });
    const { items } = Trials.parse((await bench.service.request(`/v1/jobs?parent=${job.id}&limit=100`)).body);
    const Taught = z.looseObject({ training: z.looseObject({ epochs: z.number() }), teacher: z.unknown() });
    const taught = items.map(({ recipe }) => Taught.parse(recipe.steps.at(-1)));
    const epochs = new Set(taught.map((step) => step.training.epochs));
    assert.ok(epochs.has(1) && epochs.has(4), [...epochs].join());
    assert.ok(taught.every(({ teacher }) => JSON.stringify(teacher).includes(bench.model)));
    assert.ok(figure(job.trials?.asked) > 3);
  });
});

/** A stage whose operation darts chooses. */
function darts() {
  return { block: { search: ['basic', 'plain'] }, channels: 6, stride: 2 };
}
