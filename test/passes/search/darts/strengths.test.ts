import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mixedNetwork, type MixedNetwork } from '../../../../src/passes/search/darts/mixed-network.ts';
import { operationSpace } from '../../../../src/passes/search/darts/places.ts';
import { drawPenalties, Strengths } from '../../../../src/passes/search/darts/strengths.ts';
import { takeNames } from '../../../../src/passes/replace-model.ts';
import { TrainingField } from '../../../../src/schemas/training.ts';
import { parametersOf } from '../../../../src/training/parameters.ts';
import { TrainingState } from '../../../../src/training/training-state.ts';
import { runtime } from '../../../training/helpers.ts';
import { jobModel, pictureFeeds } from '../pictures.ts';

function mixture(): MixedNetwork {
  const template = {
    architecture: 'staged',
    inputSize: 8,
    inputChannels: 1,
    classes: 3,
    stemChannels: 4,
    // Without a kink: finite differences are exact to second order.
    activation: 'hardswish',
    stages: [
      { block: { search: ['plain', 'skip', 'inverted'] }, channels: 4, expansion: 2 },
      { block: 'plain', channels: 6, kernel: { search: [3, 5] }, stride: 2 },
    ],
  };
  const space = operationSpace(template, {});
  assert.ok(typeof space !== 'string', typeof space === 'string' ? space : '');
  const mixed = mixedNetwork(space, 2);
  takeNames(mixed.model, jobModel());
  return mixed;
}

function weightsOf({ model }: MixedNetwork): TrainingState {
  const weights = parametersOf(model).filter(({ name }) => !/^(alpha|penalty)\./.test(name));
  return new TrainingState(
    weights.map(({ name, dims }) => ({
      name,
      kind: 'parameter',
      of: name,
      isModel: true,
      dims,
      initial: model.graph.initializers.get(name)?.floats() ?? new Float32Array(0),
    })),
  );
}

const descent = { name: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;

function strengthsOf(mixed: MixedNetwork, weights: TrainingState): Promise<Strengths> {
  return Strengths.create(
    mixed,
    { learningRate: 1, optimizer: descent, training: TrainingField.parse({ batchSize: 12 }), batchSize: 12, seed: 0 },
    pictureFeeds(500, 12),
    { runtime, threads: 1, weights: weights.tensors.map(({ name }) => name) },
  );
}

const still = { seed: 0, skipDropout: 0 };
const start = { epoch: 0, step: 0, fraction: 0, isValidation: true };

describe('Strengths', () => {
  it('have the gradient that finite differences of the loss have', async () => {
    const mixed = mixture();
    const weights = weightsOf(mixed);
    const penalties = drawPenalties(mixed.places, still, start);
    const lossAt = async (alphas: ReadonlyMap<string, Float32Array>): Promise<[number, Record<string, unknown>]> => {
      const strengths = await strengthsOf(mixed, weights);
      await strengths.restore(alphas);
      const loss = await strengths.step(weights, penalties);
      const after = strengths.feeds();
      const values = Object.fromEntries(
        Object.entries(after).map(([name, { data }]) => [name, Array.from(data, Number)]),
      );
      await strengths.release();
      return [loss, values];
    };
    const at = new Map([
      ['alpha.stages.0', Float32Array.of(0.3, -0.2, 0.1)],
      ['alpha.stages.1', Float32Array.of(-0.4, 0.2)],
    ]);
    // Plain descent at rate 1: what is taken off is the gradient.
    const [, after] = await lossAt(at);
    let largest = 0;
    for (const [name, values] of at) {
      for (const [index, value] of values.entries()) {
        const gradient = value - Number((after[name] as readonly number[])[index]);
        const step = 0.02;
        const [up] = await lossAt(new Map([...at, [name, values.with(index, value + step)]]));
        const [down] = await lossAt(new Map([...at, [name, values.with(index, value - step)]]));
        // float32 losses near 1: rounding 1e-7 / 0.04 = 3e-6; truncation is of order step² = 4e-4 of the third derivative.
        assert.ok(Math.abs((up - down) / (2 * step) - gradient) < 2e-4, `${name} ${index}: ${gradient}`);
        largest = Math.max(largest, Math.abs(gradient));
      }
    }
    assert.ok(largest > 0.005, `the gradients say something: ${largest}`);
  });

  it('go on from a snapshot as if they had never stopped, and begin anew after a reset', async () => {
    const mixed = mixture();
    const weights = weightsOf(mixed);
    const penalties = drawPenalties(mixed.places, still, start);
    const valuesOf = (strengths: Strengths): number[] =>
      Object.values(strengths.feeds()).flatMap(({ data }) => Array.from(data, Number));
    const straight = await strengthsOf(mixed, weights);
    await straight.step(weights, penalties);
    const first = valuesOf(straight);
    const saved = straight.snapshot();
    await straight.step(weights, penalties);
    const resumed = await strengthsOf(mixed, weights);
    await resumed.restore(saved);
    await resumed.step(weights, penalties);
    assert.deepEqual(valuesOf(resumed), valuesOf(straight));
    await resumed.reset();
    assert.deepEqual(new Set(valuesOf(resumed)), new Set([0]));
    await resumed.step(weights, penalties);
    assert.deepEqual(valuesOf(resumed), first);
    await straight.release();
    await resumed.release();
  });
});

describe('drawPenalties', () => {
  it('takes "skip" alone out, ever less often, the same for the same step', () => {
    const { places } = mixture();
    const share = (fraction: number): number => {
      let out = 0;
      for (let step = 0; step < 400; step += 1) {
        const drawn = drawPenalties(places, { seed: 1, skipDropout: 0.5 }, { ...start, step, fraction });
        assert.deepEqual(Array.from(drawn['penalty.stages.1']?.data ?? [], Number), [0, 0]);
        const [plain, skip, inverted] = Array.from(drawn['penalty.stages.0']?.data ?? [], Number);
        assert.deepEqual([plain, inverted], [0, 0]);
        if (skip !== 0) out += 1;
      }
      return out / 400;
    };
    // Standard deviation sqrt(0.25 / 400) = 0.025; four of them.
    assert.ok(Math.abs(share(0) - 0.5) < 0.1);
    assert.ok(Math.abs(share(0.5) - 0.25) < 0.1);
    assert.equal(share(1), 0);
    const at = { ...start, step: 7 };
    const settings = { seed: 1, skipDropout: 0.5 };
    assert.deepEqual(drawPenalties(places, settings, at), drawPenalties(places, settings, at));
  });
});
