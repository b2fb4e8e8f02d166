import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { conclude } from '../../../src/passes/search/conclude.ts';
import type { SearchPlan, SearchRun, Tried } from '../../../src/passes/search/run-search.ts';
import type { TrialRunner } from '../../../src/passes/trials.ts';
import { SearchSpace } from '../../../src/search/space.ts';
import { hasCode } from '../../contract/object-store.ts';
import { addModel } from '../../helpers/onnx-bytes.ts';
import { context } from '../canonicalize/helpers.ts';
import { triedOf } from './tried.ts';

const plan: SearchPlan = {
  space: new SearchSpace([{ name: 'x', type: 'choice', values: [...Array(60).keys()] }]),
  strategy: 'random',
  objectives: ['accuracy', 'bytes'],
  constraints: {},
  trials: 8,
  batch: 8,
  seed: 0,
  prepare: () => ({ figures: {}, reason: 'not used' }),
};

const tried = (index: number, accuracy: number, bytes: number, changes: Partial<Tried> = {}): Tried =>
  triedOf(index, { accuracy, bytes }, changes);

const failed = (index: number, reason: string): Tried =>
  tried(index, 0, 0, { status: 'failed', reason, figures: {}, objectives: [Number.NaN, Number.NaN], violation: 2 });

async function concluded(
  all: readonly Tried[],
  changes: Partial<SearchRun> & { keepFront?: number; random?: SearchRun } = {},
) {
  const { keepFront = 8, cutShort = false, random } = changes;
  const asked: number[] = [];
  const trials: TrialRunner = {
    run: () => Promise.reject(new Error('nothing more is run')),
    models: (specs) => {
      asked.push(...specs.map(({ recipe }) => Number(recipe.steps[0]?.['x'])));
      return Promise.resolve(specs.map(() => decodeModel(addModel())));
    },
    concluding: cutShort,
  };
  const run = { tried: all, cutShort };
  const { details, artifacts, warnings } = await conclude({ plan, run, random, keepFront, trials, context });
  return { details, asked, warnings, artifacts: artifacts.map(({ name }) => name) };
}

describe('the end of a search', () => {
  it('takes the candidate within the limits that is best by the first objective, and the front besides', async () => {
    const all = [
      tried(0, 0.5, 10),
      tried(1, 0.9, 90),
      tried(2, 0.7, 95),
      tried(3, 0.8, 30),
      failed(4, 'MODEL_RUN: no'),
    ];
    const { details, asked, artifacts } = await concluded(all);
    assert.equal(details['best'], 1);
    assert.deepEqual(details['front'], [1, 3, 0]);
    assert.deepEqual(asked, [1, 3, 0]);
    assert.deepEqual(artifacts, ['candidate-3.onnx', 'candidate-0.onnx']);
    assert.deepEqual((details['trials'] as { status: string }[]).at(-1), {
      index: 4,
      point: { x: 4 },
      status: 'failed',
      violation: 2,
      reason: 'MODEL_RUN: no',
    });
  });

  it('prefers those that miss the limits least when none is within', async () => {
    const all = [tried(0, 0.9, 90, { violation: 2 }), tried(1, 0.5, 80, { violation: 0.5 })];
    const { details, artifacts } = await concluded(all);
    assert.deepEqual([details['best'], details['bestOverall'], details['front']], [1, 0, [1, 0]]);
    assert.deepEqual(artifacts, ['candidate-0.onnx']);
  });

  it('hands out the best one beyond the limits, too', async () => {
    const all = [tried(0, 0.95, 90, { violation: 2 }), tried(1, 0.5, 80), tried(2, 0.6, 85)];
    const { details, artifacts } = await concluded(all);
    assert.deepEqual([details['best'], details['bestOverall'], details['front']], [2, 0, [2, 1]]);
    assert.deepEqual(artifacts, ['candidate-1.onnx', 'candidate-0.onnx']);
  });

  it('hands out no more of the front than asked for', async () => {
    const all = Array.from({ length: 6 }, (_, index) => tried(index, 0.5 + index / 100, 10 + index));
    assert.deepEqual((await concluded(all, { keepFront: 2 })).artifacts, ['candidate-4.onnx', 'candidate-3.onnx']);
    assert.deepEqual((await concluded(all, { keepFront: 0 })).artifacts, []);
  });

  it('hands out a front of 60 whole, and says what of a larger one has no room', async () => {
    const front = Array.from({ length: 60 }, (_, index) => tried(index, 0.2 + index / 100, 10 + index));
    const whole = await concluded(front, { keepFront: 256 });
    assert.equal(whole.artifacts.length, 59);
    assert.deepEqual(whole.warnings, []);
    assert.equal((whole.details['timing'] as unknown[]).length, 60);
    const large = front.map((one) => ({ ...one, figures: { ...one.figures, bytes: 100 * 2 ** 20 } }));
    const some = await concluded(large, { keepFront: 256 });
    assert.deepEqual(some.artifacts, ['candidate-58.onnx', 'candidate-57.onnx']);
    assert.match(some.warnings[0] ?? '', /^57 of 59 further Pareto points are no artifacts/);
    assert.deepEqual((await concluded(front, { keepFront: 2 })).warnings, []);
  });

  it('says that it was cut short, and takes what there is', async () => {
    const { details, warnings } = await concluded([tried(0, 0.5, 10)], { cutShort: true });
    assert.deepEqual([details['cutShort'], details['best']], [true, 0]);
    assert.deepEqual(warnings, ['the search was ended early: 1 of 8 candidates had ended']);
  });

  it('says that its comparison with random was cut short, and nothing where it was not', async () => {
    const all = Array.from({ length: 8 }, (_, index) => tried(index, 0.5 + index / 100, 10 + index));
    const random = { tried: all.slice(0, 3), cutShort: true };
    const { details, warnings } = await concluded(all, { random });
    assert.equal(details['cutShort'], true);
    assert.deepEqual(warnings, ['the comparison with random is incomplete: 3 of 8 candidates at random had ended']);
    const whole = await concluded(all, { random: { tried: all, cutShort: false } });
    assert.deepEqual([whole.details['cutShort'], whole.warnings], [false, []]);
  });

  it('takes a candidate that was stopped only when the end came before any other', async () => {
    const stopped = tried(1, 0.9, 10, { status: 'stopped', budget: 0.5 });
    assert.equal((await concluded([tried(0, 0.5, 10), stopped])).details['best'], 0);
    assert.equal((await concluded([stopped, failed(0, 'X')], { cutShort: true })).details['best'], 1);
  });

  it('fails with what the first failed for when none succeeded', async () => {
    const run = concluded([failed(0, 'TRAIN_DIVERGED: not a number'), failed(1, 'X: other')]);
    await assert.rejects(run, hasCode('PASS_PRECONDITION'));
    await assert.rejects(run, /none of 2 candidates succeeded.*TRAIN_DIVERGED: not a number/);
  });

  it('fails with LIMIT_TIME when its end came before one succeeded', async () => {
    await assert.rejects(concluded([], { cutShort: true }), hasCode('LIMIT_TIME'));
    await assert.rejects(concluded([failed(0, 'X: no')], { cutShort: true }), /raise deadlineSeconds/);
  });

  it('names the figure that no candidate has', async () => {
    const blind = tried(0, 0.5, 0, { figures: { accuracy: 0.5 }, objectives: [-0.5, Number.NaN] });
    await assert.rejects(concluded([blind]), /every figure of the objectives \(bytes\)/);
  });
});
