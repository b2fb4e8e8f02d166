import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SearchSpace } from '../../../src/search/space.ts';
import { runSearch, type SearchPlan, type SearchRun } from '../../../src/passes/search/run-search.ts';
import { STRATEGY_NAMES } from '../../../src/passes/search/strategies.ts';
import type { TrialResult, TrialSpec } from '../../../src/schemas/trial.ts';
import { hasCode } from '../../contract/object-store.ts';
import { runWithTrials } from '../../helpers/trial-runs.ts';

const context = { signal: new AbortController().signal, progress: () => undefined };

/** A search for the middle of a square; 6 x 6 points. */
function planOf(changes: Partial<SearchPlan> = {}): SearchPlan {
  const values = [0, 0.2, 0.4, 0.6, 0.8, 1];
  return {
    space: new SearchSpace([
      { name: 'x', type: 'choice', values },
      { name: 'y', type: 'choice', values },
    ]),
    strategy: 'evolution',
    objectives: ['accuracy', 'bytes'],
    constraints: {},
    trials: 20,
    batch: 4,
    seed: 3,
    prepare: (point, budget) => ({
      spec: {
        model: 'mdl_0123456789abcdef',
        recipe: { version: 1, steps: [{ pass: 'p', x: point['x'], y: point['y'], budget }] },
        measure: 'light',
        seed: 0,
      },
    }),
    ...changes,
  };
}

function resultOf({ recipe }: TrialSpec): TrialResult {
  const [step] = recipe.steps;
  const [x, y] = [Number(step?.['x']), Number(step?.['y'])];
  return { status: 'succeeded', metric: 'top1', accuracy: 1 - (x - 0.4) ** 2 - (y - 0.6) ** 2, bytes: 100 * x + 1 };
}

const rows = ({ tried }: SearchRun) =>
  tried.map(({ index, point, status, objectives, violation }) => ({ index, point, status, objectives, violation }));

describe('runSearch', () => {
  for (const strategy of STRATEGY_NAMES)
    it(`${strategy}: goes the same way in one attempt for each batch, and from any log that it left`, async () => {
      const plan = planOf({ strategy });
      const whole = await runWithTrials((trials) => runSearch(plan, trials, context), resultOf);
      assert.equal(whole.attempts, 6, 'five batches, and the attempt that has them all');
      assert.equal(whole.result.tried.length, 20);
      assert.equal(whole.result.cutShort, false);
      assert.equal(new Set(whole.result.tried.map(({ point }) => JSON.stringify(point))).size, 20, 'a point twice');
      for (const kept of [1, 7, 12, 20]) {
        // What a crash left: fewer trials asked for, or some that have no result.
        const entries = whole.log.entries
          .slice(0, kept)
          .map((entry, index) => (index % 5 === 4 ? { spec: entry.spec } : entry));
        const again = await runWithTrials((trials) => runSearch(plan, trials, context), resultOf, {
          version: 1,
          entries,
        });
        assert.deepEqual(rows(again.result), rows(whole.result));
        assert.deepEqual(
          again.log.entries.map(({ spec }) => spec),
          whole.log.entries.map(({ spec }) => spec),
        );
      }
      const other = await runWithTrials((trials) => runSearch({ ...plan, seed: 4 }, trials, context), resultOf);
      assert.notDeepEqual(rows(other.result), rows(whole.result));
    });

  it('ends with what there is when it has to conclude', async () => {
    const plan = planOf();
    const whole = await runWithTrials((trials) => runSearch(plan, trials, context), resultOf);
    const { result } = await runWithTrials(
      (trials) => runSearch(plan, trials, context),
      (spec, index) => (index < 10 ? resultOf(spec) : undefined),
    );
    assert.equal(result.cutShort, true);
    assert.deepEqual(rows(result), rows(whole.result).slice(0, 10));
  });

  it('takes what ended in the last batch, whichever it was', async () => {
    const { result } = await runWithTrials(
      (trials) => runSearch(planOf(), trials, context),
      (spec, index) => (index === 4 || index === 6 ? undefined : resultOf(spec)),
    );
    assert.deepEqual(
      result.tried.map(({ index }) => index),
      [0, 1, 2, 3, 5, 7],
    );
  });

  it('goes on past trials that failed, and says why they did', async () => {
    const error = { code: 'TRAIN_DIVERGED', message: 'the loss is not a number' };
    const { result } = await runWithTrials(
      (trials) => runSearch(planOf(), trials, context),
      (spec, index) => (index % 3 === 0 ? { status: 'failed', error } : resultOf(spec)),
    );
    assert.equal(result.tried.length, 20);
    assert.equal(result.tried[3]?.status, 'failed');
    assert.equal(result.tried[3].reason, 'TRAIN_DIVERGED: the loss is not a number');
    assert.ok(result.tried[3].objectives.every(Number.isNaN));
  });

  it('ends when the space has no further point', async () => {
    const { result } = await runWithTrials((trials) => runSearch(planOf({ trials: 100 }), trials, context), resultOf);
    assert.equal(result.tried.length, 36);
    assert.equal(result.cutShort, false);
  });

  it('runs no trial for a candidate that is ruled out ahead, and takes another one into the batch', async () => {
    const plan = planOf();
    const { result, log, attempts } = await runWithTrials(
      (trials) =>
        runSearch(
          {
            ...plan,
            trials: 6,
            prepare: (point, budget) =>
              Number(point['x']) > 0.5 ? { figures: {}, reason: 'too large' } : plan.prepare(point, budget),
          },
          trials,
          context,
        ),
      resultOf,
    );
    const rejected = result.tried.filter(({ status }) => status === 'rejected');
    assert.ok(rejected.length > 0, 'none was drawn: this shows nothing');
    assert.equal(rejected[0]?.reason, 'too large');
    assert.equal(result.tried.length - rejected.length, 6);
    assert.equal(log.entries.length, 6);
    assert.equal(attempts, 3, 'batches of four and two, and the attempt that has them all');
  });

  it('ends though every candidate is ruled out', async () => {
    const { result, attempts } = await runWithTrials(
      (trials) => runSearch(planOf({ prepare: () => ({ figures: {}, reason: 'too large' }) }), trials, context),
      resultOf,
    );
    assert.equal(attempts, 1);
    assert.equal(result.tried.length, 36);
  });

  it('ends after a batch of candidates without accuracy, where it goes by accuracy', async () => {
    const blind = (spec: TrialSpec): TrialResult => {
      const { accuracy: _accuracy, metric: _metric, ...rest } = resultOf(spec);
      return rest;
    };
    let ran = 0;
    const run = (plan: SearchPlan) =>
      runWithTrials(
        (trials) => runSearch(plan, trials, context),
        (spec) => {
          ran += 1;
          return blind(spec);
        },
      );
    await assert.rejects(run(planOf()), hasCode('PASS_PRECONDITION'));
    assert.equal(ran, 4);
    const { result } = await run(planOf({ objectives: ['bytes'] }));
    assert.equal(result.tried.length, 20);
  });

  it('ends after a batch whose reward would be one of an error', async () => {
    const plan = planOf({ objectives: ['reward'], reward: { figure: 'bytes', target: 50, within: 0, above: -1 } });
    const run = (metric: string) =>
      runWithTrials(
        (trials) => runSearch(plan, trials, context),
        (spec) => ({ ...resultOf(spec), metric }),
      );
    await assert.rejects(run('rmse'), /measured by rmse, an error/);
    assert.equal((await run('top1')).result.tried.length, 20);
  });

  it('stops candidates of a batch after a part of their training, the same ones from any log', async () => {
    const plan = planOf({ earlyStopping: { minBudget: 0.25, eta: 2 }, trials: 8, batch: 8 });
    const run = (start?: Parameters<typeof runWithTrials>[2]) =>
      runWithTrials((trials) => runSearch(plan, trials, context), resultOf, start);
    const { result, log } = await run();
    const budgets = result.tried.map(({ budget }) => budget).toSorted((a, b) => a - b);
    assert.deepEqual(budgets, [0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 1, 1]);
    assert.equal(log.entries.length, 8 + 4 + 2);
    const entries = log.entries.map((entry, index) => (index % 3 === 2 ? { spec: entry.spec } : entry));
    assert.deepEqual(rows((await run({ version: 1, entries })).result), rows(result));
  });

  it('is canceled between batches', async () => {
    const signal = AbortSignal.abort(new Error('stop'));
    await assert.rejects(
      runWithTrials((trials) => runSearch(planOf(), trials, { ...context, signal }), resultOf),
      /stop/,
    );
  });
});
