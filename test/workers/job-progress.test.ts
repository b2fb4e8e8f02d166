import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { scheduleRecipe } from '../../src/passes/pass-manager.ts';
import { JobProgress } from '../../workers/job-progress.ts';

type Steps = Parameters<typeof scheduleRecipe>[0]['steps'];

const progressOf = (...steps: Steps): JobProgress => new JobProgress(scheduleRecipe({ version: 1, steps }));

describe('job progress', () => {
  it('goes from the input over each step to the end without a gap or a step back', () => {
    const steps = scheduleRecipe({
      version: 1,
      steps: [{ pass: 'prune.channels' }, { pass: 'train.finetune' }, { pass: 'quantize.static' }],
    });
    const progress = new JobProgress(steps);
    assert.ok(progress.inStep(0, 0) > 0);
    assert.equal(progress.inStep(steps.length, 0), progress.inResult(0));
    for (const index of steps.keys()) {
      assert.ok(progress.inStep(index, 0) < progress.inStep(index, 1));
      const next = index + 1 < steps.length ? progress.inStep(index + 1, 0) : progress.inResult(0);
      assert.ok(Math.abs(progress.inStep(index, 1) - next) < 1e-12);
    }
    assert.equal(progress.inResult(1), 1);
  });

  it('gives most of the way to a step that trains, or searches', () => {
    const trained = progressOf({ pass: 'prune.channels' }, { pass: 'train.finetune' }, { pass: 'quantize.static' });
    // Canonicalize, prune, train, canonicalize, quantize.
    assert.ok(trained.inStep(2, 1) - trained.inStep(2, 0) > 0.75);
    const step = { pass: 'prune.channels', macsRatio: { search: [0.4, 0.6] } };
    const searched = progressOf({ pass: 'search.compression', steps: [step], trials: 4 });
    const last = scheduleRecipe({ version: 1, steps: [{ pass: 'search.compression', steps: [step], trials: 4 }] });
    assert.ok(searched.inStep(last.length - 1, 1) - searched.inStep(last.length - 1, 0) > 0.9);
    const quick = progressOf({ pass: 'quantize.static' });
    assert.ok(quick.inStep(0, 0) > 0.2);
  });

  it('takes a fraction outside of 0 and 1 as the bound', () => {
    const progress = progressOf({ pass: 'quantize.static' });
    assert.equal(progress.inStep(1, 1.5), progress.inStep(1, 1));
    assert.equal(progress.inStep(1, -1), progress.inStep(1, 0));
    assert.equal(progress.inResult(2), 1);
  });
});
