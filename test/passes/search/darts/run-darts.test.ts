import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { searchArchitecture } from '../../../../src/passes/search/architecture.ts';
import { assertResumes, concludedFrom, statesOf, type Concluded } from '../interrupted.ts';
import { contextOf, jobModel } from '../pictures.ts';

const space = {
  architecture: 'staged',
  stemChannels: 4,
  stages: [
    { block: { search: ['skip', 'basic', 'plain'] }, channels: 4 },
    { block: 'plain', kernel: { search: [3, 5] }, channels: 6, stride: 2 },
  ],
};

function optionsOf(given: Record<string, unknown> = {}): unknown {
  return searchArchitecture.options.parse({
    space,
    strategy: 'darts',
    training: { epochs: 6, batchSize: 12, learningRate: 0.1 },
    darts: { recalibrationSamples: 24, strengthLearningRate: 0.05 },
    ...given,
  });
}

interface ReportedPlace {
  readonly name: string;
  readonly chosen: number;
  readonly operations: readonly { readonly probability: number }[];
}

function placesOf(details: Readonly<Record<string, unknown>>): readonly ReportedPlace[] {
  return (details['darts'] as { places: readonly ReportedPlace[] }).places;
}

describe('search.architecture, darts', () => {
  it('trains operations side by side, keeps the strongest ones, and gives a network that has learned', async () => {
    const model = jobModel();
    const options = optionsOf();
    assert.equal(searchArchitecture.requires(model, options), undefined);
    const { training = [], details } = await searchArchitecture.run(model, options, contextOf());
    verifyModel(model);
    assert.deepEqual(
      training.map(({ name }) => name),
      ['mixed'],
    );
    const losses = training[0]?.epochs.map(({ loss }) => loss) ?? [];
    assert.ok((losses.at(-1) ?? 9) < 0.7 * (losses[0] ?? 0), losses.join(' '));
    for (const { chosen, operations } of placesOf(details)) {
      const probabilities = operations.map(({ probability }) => probability);
      assert.ok(Math.abs(probabilities.reduce((sum, one) => sum + one, 0) - 1) < 1e-6);
      assert.equal(probabilities[chosen], Math.max(...probabilities));
      assert.ok(Math.max(...probabilities) - Math.min(...probabilities) > 1e-3, 'the strengths have moved');
    }
    const { asTrained } = details['darts'] as { asTrained: { accuracy: number } };
    // Three classes: chance is a third.
    assert.ok(asTrained.accuracy > 0.6, String(asTrained.accuracy));
    assert.equal(model.graph.inputs[0]?.name, 'image');
  });

  it('takes weaker operations where the strongest are beyond the limits', async () => {
    const options = optionsOf({ training: { epochs: 1, batchSize: 12 }, constraints: { maxParameters: 400 } });
    const model = jobModel();
    const { details } = await searchArchitecture.run(model, options, contextOf());
    // 5x5 alone are 4 * 6 * 25 = 600.
    assert.equal(placesOf(details)[1]?.chosen, 0);
    await assert.rejects(
      searchArchitecture.run(
        jobModel(),
        optionsOf({ training: { epochs: 1, batchSize: 12 }, constraints: { maxParameters: 20 } }),
        contextOf(),
      ),
      { code: 'PASS_PRECONDITION', message: /no combination of operations is within the limits/ },
    );
  });

  it('gives the same bytes for the same seed, also when it goes on after an interruption', async () => {
    const options = optionsOf({ finalTraining: { epochs: 2, batchSize: 12, learningRate: 0.05 } });
    // While the weights alone are trained, while the strengths are, inside the final training.
    await assertResumes(options, (saves) => [2, Math.floor(saves / 2), saves - 2]);
  });

  describe('when its end comes early', () => {
    const options = optionsOf({ finalTraining: { epochs: 2, batchSize: 12, learningRate: 0.05 } });
    let states: Awaited<ReturnType<typeof statesOf>>;
    before(async () => {
      states = await statesOf(options);
    });
    const endedAt = async (chapter: string, which: number): Promise<Concluded> => {
      const result = await concludedFrom(options, states.filter((one) => one.chapter === chapter).at(which)?.state);
      verifyModel(result.model);
      assert.equal(result.details['cutShort'], true);
      assert.equal(result.saves, 0);
      return result;
    };

    it('hands out the network of the strengths as they are, and says how far it had got', async () => {
      const result = await endedAt('mixed', -2);
      assert.match(result.warnings[0] ?? '', /had 5 of 6 epochs of training, and the choice goes by the strengths as/);
      assert.match(result.warnings.at(-1) ?? '', /final training had not begun/);
      for (const { chosen, operations } of placesOf(result.details)) {
        const probabilities = operations.map(({ probability }) => probability);
        assert.equal(probabilities[chosen], Math.max(...probabilities));
        assert.ok(Math.max(...probabilities) - Math.min(...probabilities) > 1e-3, 'the strengths have moved');
      }
      const { asTrained } = result.details['darts'] as { asTrained: { accuracy: number } };
      assert.ok(asTrained.accuracy > 0.6, String(asTrained.accuracy));
      assert.deepEqual(
        result.training?.map(({ name }) => name),
        ['mixed'],
      );
    });

    it('says that no strength had been learned, where only weights had', async () => {
      const result = await endedAt('mixed', 1);
      assert.match(result.warnings[0] ?? '', /had 0 of 6 epochs of training, and no strength had been learned/);
    });

    it('in the final training, takes the better of what it made and what it began with', async () => {
      const result = await endedAt('final', -2);
      assert.deepEqual(
        result.training?.map(({ name, epochs }) => [name, epochs.length]),
        [
          ['mixed', 6],
          ['model', 1],
        ],
      );
      assert.match(result.warnings.at(-1) ?? '', /final training was ended after 1 of 2 epochs: the winner is as/);
    });

    it('with nothing saved, has nothing to hand out', async () => {
      await assert.rejects(concludedFrom(options, undefined), { code: 'LIMIT_TIME' });
    });
  });

  it('refuses before it starts what cannot be mixed, and options that would say nothing', () => {
    const widths = { ...space, stages: [{ channels: { search: [4, 8] } }] };
    assert.match(
      searchArchitecture.requires(jobModel(), optionsOf({ space: widths })) ?? '',
      /cannot be mixed: .*stages\.0/,
    );
    const refused = (given: Record<string, unknown>): readonly PropertyKey[] | undefined =>
      searchArchitecture.options.safeParse({ space, strategy: 'darts', ...given }).error?.issues[0]?.path;
    assert.deepEqual(refused({ oneShot: {} }), ['oneShot']);
    assert.deepEqual(refused({ compareWithRandom: true }), ['compareWithRandom']);
    assert.deepEqual(refused({ constraints: { minAccuracy: 0.9 } }), ['constraints', 'minAccuracy']);
    assert.deepEqual(refused({ training: { validation: { fraction: 0 } } }), ['training', 'validation']);
    assert.deepEqual(refused({ training: { validation: { role: 'evaluation' } } }), ['training', 'validation']);
    assert.equal(refused({}), undefined);
  });
});
