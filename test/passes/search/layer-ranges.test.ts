import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { countWeightElements } from '../../../src/onnx/print/summarize-model.ts';
import { runStep, scheduleRecipe } from '../../../src/passes/pass-manager.ts';
import { takeNames } from '../../../src/passes/replace-model.ts';
import { searchCompression } from '../../../src/passes/search/compression.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import type { TrialRunner } from '../../../src/passes/trials.ts';
import type { TrialResult, TrialSpec } from '../../../src/schemas/trial.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { RecordingCheckpoint } from './interrupted.ts';
import { contextOf, jobModel, pictureFeeds } from './pictures.ts';

function network(): Model {
  const stages = [{ block: 'plain', blocks: 2, channels: 32 }];
  const sizes = { inputSize: 8, inputChannels: 1, classes: 3 };
  const model = buildArchitecture({ architecture: 'staged', stemChannels: 8, stages, ...sizes }, 1);
  takeNames(model, jobModel());
  return model;
}

const LAYERS = network()
  .graph.nodes.filter(({ opType }) => opType === 'Conv' || opType === 'Gemm')
  .map(({ name }) => name);

type StepOf = Readonly<Record<string, unknown>>;
const firstStep = ({ recipe }: TrialSpec): StepOf => recipe.steps[0] as StepOf;
const context = {
  ...contextOf(),
  modelField: 'mdl_0123456789abcdef',
  data: { ...contextOf().data, calibration: pictureFeeds(0, 24) },
};

/** Runs the recipe of each candidate in earnest; what it is to be good at is the file's size. */
class RealTrials implements TrialRunner {
  readonly concluding = false;
  readonly ran: TrialSpec[] = [];

  async run(specs: readonly TrialSpec[]): Promise<readonly TrialResult[]> {
    this.ran.push(...specs);
    const results: TrialResult[] = [];
    for (const model of await this.models(specs))
      results.push({ status: 'succeeded', bytes: encodeModel(model).length, macs: macsOf(model).total });
    return results;
  }

  async models(specs: readonly TrialSpec[]): Promise<readonly Model[]> {
    const models: Model[] = [];
    for (const { recipe } of specs) {
      const model = network();
      for (const step of scheduleRecipe(recipe)) await runStep(model, step, context);
      models.push(model);
    }
    return models;
  }
}

async function searched(step: StepOf, given: StepOf = {}, changes: Partial<PassContext> = {}) {
  const options = searchCompression.options.parse({
    steps: [step],
    strategy: 'random',
    objectives: ['bytes'],
    trials: 6,
    batch: 3,
    ...given,
  });
  const trials = new RealTrials();
  // As a job begins.
  const [model] = await trials.models([
    { recipe: { version: 1, steps: [{ pass: 'canonicalize' }] } } as unknown as TrialSpec,
  ]);
  assert.ok(model);
  const outcome = await runStep(model, { pass: searchCompression, options }, { ...context, trials, ...changes });
  return { model, trials, dimensions: (outcome.details['space'] as { dimensions: { name: string }[] }).dimensions };
}

const layers = (values: readonly unknown[]) => ({ search: { layers: values } });

describe('yes or no for each layer', () => {
  const steps: StepOf[] = [
    { pass: 'quantize.static' },
    { pass: 'quantize.dynamic' },
    { pass: 'prune.unstructured', sparsity: 0.5 },
    { pass: 'factorize.svd', rank: 2 },
    { pass: 'factorize.tucker', rank: 2 },
    { pass: 'prune.channels', macsRatio: 0.9, speed: 'ignore' },
  ];
  for (const step of steps)
    it(`chooses what ${String(step['pass'])} leaves alone`, async () => {
      const { trials, dimensions } = await searched({ ...step, exclude: layers([true, false]) });
      const names = dimensions.map(({ name }) => name.replace(/^steps\.0\.exclude\./, ''));
      assert.ok(names.length > 1 && names.every((name) => LAYERS.includes(name)), names.join(', '));
      assert.deepEqual(trials.ran.map(firstStep)[0]?.['exclude'], [], 'begins with all layers');
      for (const spec of trials.ran)
        for (const name of firstStep(spec)['exclude'] as string[]) assert.ok(names.includes(name), name);
      assert.ok(trials.ran.some((spec) => (firstStep(spec)['exclude'] as string[]).length > 0));
    });

  it('is refused, in words, for a pass that names no layers', async () => {
    await assert.rejects(
      searched({ pass: 'canonicalize', exclude: layers([true, false]) }),
      /canonicalize\) that has no layers to choose values for/,
    );
  });
});

describe('types for each layer within a limit that can be counted', () => {
  const mixed = {
    pass: 'quantize.mixed',
    layers: layers([{ weights: 'int8' }, { weights: 'int4' }, { weights: 'int2' }]),
  };
  const given = { trials: 10, batch: 5, objectives: ['bytes'] };
  const typesOf = (spec: TrialSpec): string => JSON.stringify(firstStep(spec)['layers']);
  const sizesOf = async (trials: RealTrials): Promise<{ bytes: number; bops: number }[]> =>
    (await trials.models(trials.ran)).map((model) => ({
      bytes: encodeModel(model).length,
      bops: macsOf(model).bitOperations,
    }));
  const alike = async (weights: string): Promise<{ bytes: number; bops: number }> => {
    const trials = new RealTrials();
    const step = { pass: 'quantize.mixed', layers: { '*': { weights } } };
    const [model] = await trials.models([{ recipe: { version: 1, steps: [step] } } as unknown as TrialSpec]);
    assert.ok(model);
    return { bytes: encodeModel(model).length, bops: macsOf(model).bitOperations };
  };

  for (const strategy of ['rl', 'evolution', 'random'])
    it(`${strategy} tries none beyond it, from the first on`, async () => {
      // Bytes are counted to a few; bit operations exactly.
      const { bytes: fourBytes, bops: maxBops } = await alike('int4');
      const maxBytes = fourBytes + 64;
      for (const constraints of [{ maxBops }, { maxBytes }]) {
        const { trials } = await searched(mixed, { ...given, strategy, constraints });
        assert.equal(trials.ran.length, 10);
        const sizes = await sizesOf(trials);
        for (const { bytes, bops } of sizes)
          assert.ok('maxBops' in constraints ? bops <= maxBops : bytes <= maxBytes, `${bytes} bytes, ${bops} bops`);
        assert.equal(new Set(trials.ran.map(typesOf)).size, 10);
        const used = sizes.map(({ bytes, bops }) => ('maxBops' in constraints ? bops / maxBops : bytes / maxBytes));
        assert.ok(Math.max(...used) > 0.98, `the closest uses ${Math.max(...used)} of it`);
      }
    });

  it('is counted once: attempts that go on have what the first one measured', async () => {
    const checkpoint = new RecordingCheckpoint();
    const { bytes } = await alike('int4');
    const options = { ...given, strategy: 'rl', constraints: { maxBytes: Math.round(1.2 * bytes) } };
    const first = await searched(mixed, options, { checkpoint });
    const saved = checkpoint.saves.length;
    const second = await searched(mixed, options, { checkpoint });
    assert.deepEqual(second.trials.ran, first.trials.ran);
    assert.deepEqual([saved, checkpoint.saves.length], [1, 1]);
  });
});

describe('ranks for each layer', () => {
  it('are tried alike first, then each by itself; the best file is the one of the lowest', async () => {
    const { trials, dimensions, model } = await searched({
      pass: 'factorize.svd',
      conv: 'channel',
      ranks: layers([0.25, 0.5, null]),
    });
    assert.deepEqual(
      dimensions.map(({ name }) => name),
      LAYERS.filter((name) => dimensions.some((dimension) => dimension.name.endsWith(name))).map(
        (name) => `steps.0.ranks.${name}`,
      ),
    );
    const tried = trials.ran.map((spec) => firstStep(spec)['ranks'] as Record<string, number | null>);
    assert.deepEqual(
      tried.slice(0, 3).map((ranks) => [...new Set(Object.values(ranks))]),
      [[0.25], [0.5], [null]],
    );
    assert.ok(tried.slice(3).every((ranks) => new Set(Object.values(ranks)).size > 1));
    assert.ok(countWeightElements(model) < 0.7 * countWeightElements(network()));
  });

  it('are those of the convolutions that factorize.tucker can write', async () => {
    const { dimensions } = await searched({ pass: 'factorize.tucker', ranks: layers([2, 4]) });
    assert.ok(dimensions.length > 0 && dimensions.every(({ name }) => !name.includes('head.fc')));
  });
});
