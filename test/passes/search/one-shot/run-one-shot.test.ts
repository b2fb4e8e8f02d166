import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { elementCount } from '../../../../src/onnx/nd-array.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { searchArchitecture } from '../../../../src/passes/search/architecture.ts';
import { assertResumes } from '../interrupted.ts';
import { contextOf, jobModel } from '../pictures.ts';

const space = {
  architecture: 'staged',
  uniform: true,
  stemChannels: { search: [4, 6] },
  stages: [
    {
      channels: { search: [4, 8] },
      blocks: { search: [1, 2] },
      kernel: { search: [3, 5] },
      expansion: { search: [0.5, 1] },
      stride: 2,
    },
  ],
};

function optionsOf(given: Record<string, unknown> = {}): unknown {
  return searchArchitecture.options.parse({
    space,
    strategy: 'one-shot',
    training: { epochs: 6, batchSize: 12, learningRate: 0.1 },
    trials: 6,
    batch: 3,
    keepFront: 1,
    oneShot: { recalibrationSamples: 24 },
    ...given,
  });
}

describe('search.architecture, one-shot', () => {
  it('trains shared weights, finds a part within the limits and takes it out', async () => {
    const model = jobModel();
    const options = optionsOf({ constraints: { maxParameters: 700 } });
    assert.equal(searchArchitecture.requires(model, options), undefined);
    const { training = [], details } = await searchArchitecture.run(model, options, contextOf());
    verifyModel(model);
    assert.deepEqual(
      training.map(({ name }) => name),
      ['shared-whole', 'shared-parts'],
    );
    const [whole] = training;
    assert.ok((whole?.epochs.at(-1)?.loss ?? 9) < (whole?.epochs[0]?.loss ?? 0));
    const weights = [...model.graph.initializers.values()].filter(
      ({ name, dataType }) => dataType === 'float' && !name.includes('running_'),
    );
    assert.ok(weights.reduce((sum, { dims }) => sum + elementCount(dims), 0) <= 700);
    assert.equal(details['strategy'], 'one-shot');
    const trials = details['trials'] as readonly { status: string; accuracy?: number }[];
    assert.ok(trials.filter(({ status }) => status === 'succeeded').length > 0);
    assert.deepEqual(model.graph.inputs[0]?.name, 'image');
  });

  it('lowers the loss of parts that are drawn anew at each step', async () => {
    const widths = { ...space, stages: [{ channels: { search: [4, 6, 8] }, stride: 2 }] };
    const options = optionsOf({
      space: widths,
      training: { epochs: 12, batchSize: 12, learningRate: 0.1 },
      oneShot: { wholeShare: 0.01, learningRateShare: 1, distillation: 0 },
    });
    const { training = [], details } = await searchArchitecture.run(jobModel(), options, contextOf());
    const losses = training[1]?.epochs.map(({ loss }) => loss) ?? [];
    assert.equal(losses.length, 11);
    assert.ok((losses.at(-1) ?? 9) < 0.6 * (losses[0] ?? 0), losses.join(' '));
    const accuracies = (details['trials'] as readonly { accuracy?: number }[]).map(({ accuracy = 0 }) => accuracy);
    // Three classes: chance is a third.
    assert.ok(Math.min(...accuracies) > 0.6, accuracies.join(' '));
  });

  it('gives the same bytes for the same seed, also when it goes on after an interruption', async () => {
    const options = optionsOf({ finalTraining: { epochs: 2, batchSize: 12, learningRate: 0.05 } });
    // Inside the first run, inside the second, among the candidates, inside the final training.
    await assertResumes(options, (saves) => [2, Math.floor(saves / 2), saves - 8, saves - 2]);
  });

  it('refuses before it starts what cannot share weights, with the reason', () => {
    const kinds = { ...space, stages: [{ block: { search: ['basic', 'inverted'] }, channels: 8 }] };
    const obstacle = searchArchitecture.requires(jobModel(), optionsOf({ space: kinds }));
    assert.match(obstacle ?? '', /cannot share weights: stages\.0\.block/);
    const loose = { ...space, uniform: false, stages: [{ channels: { search: [4, 8] } }], stemChannels: 4 };
    assert.match(searchArchitecture.requires(jobModel(), optionsOf({ space: loose })) ?? '', /"uniform": true/);
  });

  it('refuses options that would say nothing', () => {
    const refused = (given: Record<string, unknown>): readonly PropertyKey[] | undefined =>
      searchArchitecture.options.safeParse({ space, strategy: 'one-shot', ...given }).error?.issues[0]?.path;
    assert.deepEqual(refused({ earlyStopping: { minBudget: 0.3 } }), ['earlyStopping']);
    assert.deepEqual(refused({ strategy: 'tpe', oneShot: {} }), ['oneShot']);
    assert.deepEqual(refused({ training: { frozen: ['*'] } }), ['training', 'frozen']);
    assert.deepEqual(refused({ space: [space, { architecture: 'resnet' }] }), ['space']);
    assert.equal(refused({}), undefined);
  });
});
