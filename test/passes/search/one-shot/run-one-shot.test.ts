import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { elementCount } from '../../../../src/onnx/nd-array.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { searchArchitecture } from '../../../../src/passes/search/architecture.ts';
import { assertResumes, concludedFrom, statesOf, type Concluded } from '../interrupted.ts';
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
    // Inside the first run, inside the second, among the candidates, behind them, inside the final training of eight steps.
    await assertResumes(options, (saves) => [2, Math.floor(saves / 2), saves - 11, saves - 9, saves - 2]);
  });

  describe('when its end comes early', () => {
    const options = optionsOf({
      constraints: { maxParameters: 700 },
      finalTraining: { epochs: 2, batchSize: 12, learningRate: 0.05 },
    });
    let states: Awaited<ReturnType<typeof statesOf>>;
    before(async () => {
      states = await statesOf(options);
    });
    const endedAt = (chapter: string, which: number): Promise<Concluded> =>
      concludedFrom(options, states.filter((one) => one.chapter === chapter).at(which)?.state);
    const trialsOf = ({ details }: Concluded): readonly { index: number; status: string; accuracy?: number }[] =>
      (details['trials'] as { index: number; status: string; accuracy?: number }[]).filter(
        ({ status }) => status === 'succeeded',
      );
    /** Whatever was cut: the best of those measured is handed out, within the limits, and it is said to be cut short. */
    const assertUsable = (result: Concluded): void => {
      verifyModel(result.model);
      assert.equal(result.details['cutShort'], true);
      const tried = trialsOf(result);
      const best = tried.find(({ index }) => index === result.details['best']);
      assert.equal(best?.accuracy, Math.max(...tried.map(({ accuracy = 0 }) => accuracy)));
      const weights = [...result.model.graph.initializers.values()].filter(
        ({ name, dataType }) => dataType === 'float' && !name.includes('running_'),
      );
      assert.ok(weights.reduce((sum, { dims }) => sum + elementCount(dims), 0) <= 700);
      assert.equal(result.saves, 0, 'what is done in haste would be taken for the search itself');
    };

    it('while the largest network is trained: measures candidates with the weights as they are', async () => {
      const result = await endedAt('whole', 5);
      assertUsable(result);
      assert.equal(
        result.warnings[0],
        'the search was ended early: the largest network had 1 of 2 epochs of training, and its parts none',
      );
      assert.match(result.warnings.at(-1) ?? '', /final training had not begun/);
      assert.ok(trialsOf(result).length > 0);
      assert.deepEqual(
        result.training?.map(({ name, stoppedEarly }) => [name, stoppedEarly]),
        [['shared-whole', true]],
      );
    });

    it('while its parts are trained', async () => {
      const result = await endedAt('parts', -2);
      assertUsable(result);
      assert.match(result.warnings[0] ?? '', /the parts of the largest network had 3 of 4 epochs of training$/);
      assert.ok(trialsOf(result).length > 0);
    });

    it('among the candidates: hands out the best of those that were measured, and measures no more', async () => {
      const result = await endedAt('candidates', 3);
      assertUsable(result);
      assert.equal(trialsOf(result).length, 4);
      assert.equal(result.warnings[0], 'the search was ended early: 4 of 6 candidates had ended');
    });

    it('behind the candidates, and in the final training', async () => {
      const behind = await endedAt('after candidates', 0);
      assertUsable(behind);
      assert.deepEqual(behind.warnings, [
        'the final training had not begun when the search was ended: the winner is as the search found it',
      ]);
      const within = await endedAt('final', -2);
      assertUsable(within);
      assert.equal(trialsOf(within).length, 6);
      assert.deepEqual(within.details['best'], behind.details['best']);
      assert.match(within.warnings.join(), /^the final training was ended after 1 of 2 epochs: the winner is as/);
      assert.deepEqual(within.training?.map(({ name, epochs }) => [name, epochs.length]).at(-1), ['model', 1]);
    });

    it('with nothing saved, has nothing to hand out', async () => {
      await assert.rejects(concludedFrom(options, undefined), { code: 'LIMIT_TIME' });
    });
  });

  it('looks at the cancel signal between candidates', async () => {
    const controller = new AbortController();
    const progress = (_: number, message = ''): void => {
      if (message.endsWith('trials')) controller.abort(new Error('stop'));
    };
    const context = { ...contextOf(undefined, controller.signal), progress };
    await assert.rejects(searchArchitecture.run(jobModel(), optionsOf(), context), /stop/);
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
