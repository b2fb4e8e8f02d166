import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { figuresOf, objectivesOf, violationOf, withReward } from '../../../src/passes/search/goals.ts';
import { nearness } from '../../../src/passes/search/nearness.ts';
import type { TrialResult } from '../../../src/schemas/trial.ts';

const RESULT: TrialResult = {
  status: 'succeeded',
  metric: 'top1',
  accuracy: 0.9,
  bytes: 100,
  macs: 1000,
  parameters: 25,
};

describe('what a search goes by', () => {
  it('takes the figures of a trial that succeeded, and none of one that failed', () => {
    assert.deepEqual(figuresOf(RESULT), { metric: 'top1', accuracy: 0.9, bytes: 100, macs: 1000, parameters: 25 });
    assert.deepEqual(figuresOf({ ...RESULT, status: 'failed' }), {});
  });

  it('minimizes: accuracy with its sign turned, an error as it is, what is missing as a failure', () => {
    const figures = figuresOf(RESULT);
    assert.deepEqual(objectivesOf(figures, ['accuracy', 'macs']), [-0.9, 1000]);
    assert.deepEqual(objectivesOf(figuresOf({ ...RESULT, metric: 'rmse', accuracy: 3 }), ['accuracy']), [3]);
    assert.deepEqual(objectivesOf(figures, ['bops', 'bytes']), [Number.NaN, 100]);
  });

  it('adds up the shares by which limits are missed', () => {
    const figures = figuresOf(RESULT);
    assert.equal(violationOf(figures, {}), 0);
    assert.equal(violationOf(figures, { maxBytes: 100, minAccuracy: 0.9, maxMacs: 1000 }), 0);
    // 100 is a quarter above 80, 1000 the whole of 500 above 500.
    assert.equal(violationOf(figures, { maxBytes: 80, maxMacs: 500 }), 1.25);
    // 0.1 of 1 below.
    assert.ok(Math.abs(violationOf(figures, { minAccuracy: 1 }) - 0.1) < 1e-12);
  });

  it('takes minAccuracy of an error as the most of it', () => {
    const figures = figuresOf({ ...RESULT, metric: 'rmse', accuracy: 3 });
    assert.equal(violationOf(figures, { minAccuracy: 4 }), 0);
    assert.equal(violationOf(figures, { minAccuracy: 2 }), 0.5);
  });

  it('counts a figure that is missing as 1, or as 0 before the trial has run', () => {
    const limits = { maxBops: 10, maxBytes: 50 };
    assert.equal(violationOf(figuresOf(RESULT), limits), 2);
    assert.equal(violationOf(figuresOf(RESULT), limits, true), 1);
  });

  it('rewards accuracy at the target as it is, less beyond it', () => {
    // Tan et al., MnasNet, equation 2 with alpha = 0 up to the target, beta = -1 beyond: 0.9 * (200 / 100) ** -1.
    const reward = { figure: 'bytes' as const, within: 0, above: -1 };
    assert.equal(withReward(figuresOf(RESULT), { ...reward, target: 100 }).reward, 0.9);
    assert.equal(withReward(figuresOf({ ...RESULT, bytes: 200 }), { ...reward, target: 100 }).reward, 0.45);
    assert.equal(withReward(figuresOf({ status: 'succeeded' }), { ...reward, target: 100 }).reward, undefined);
  });
});

describe('nearness of a candidate to the constraints', () => {
  const full: TrialResult = {
    ...RESULT,
    accuracyBefore: 0.92,
    bytesBefore: 400,
    latencyP50Ms: 2,
    latencyBeforeP50Ms: 3,
    speedup: 1.5,
    verdict: 'met',
  };

  it('is 0 when all are met', () => {
    const constraints = { maxAccuracyDrop: 0.03, maxBytes: 100, maxLatencyP50Ms: 2, minSpeedup: 1.5 };
    assert.equal(nearness(full, constraints), 0);
    assert.equal(nearness(full, {}), 0);
  });

  it('is the sum of the shares missed; a point of accuracy weighs as a tenth', () => {
    assert.equal(nearness(full, { maxBytes: 80 }), 0.25);
    assert.equal(nearness(full, { maxLatencyP50Ms: 1 }), 1);
    assert.equal(nearness(full, { minSpeedup: 3 }), 1);
    assert.ok(Math.abs(nearness(full, { maxAccuracyDrop: 0.01 }) - 0.1) < 1e-12);
    assert.equal(nearness(full, { maxBytes: 80, minSpeedup: 3 }), 1.25);
  });

  it('counts the share by which an error rose as the drop', () => {
    const regression = { ...full, metric: 'rmse', accuracyBefore: 0.5, accuracy: 0.75 };
    // Half as much again: the verdict goes by the share.
    assert.equal(nearness(regression, { maxAccuracyDrop: 0.5 }), 0);
    assert.equal(nearness(regression, { maxAccuracyDrop: 0.25 }), 2.5);
    assert.equal(nearness(regression, { maxAccuracyDrop: 0 }), 5);
  });

  it('counts what was not measured as missed whole', () => {
    const { accuracy: _accuracy, speedup: _speedup, ...blind } = full;
    assert.equal(nearness(blind, { maxAccuracyDrop: 0.5, minSpeedup: 1.1 }), 2);
  });

  it('is more than 0 where the report’s verdict is missed for the noise of the measurement', () => {
    const missed = nearness({ ...full, verdict: 'missed' }, { minSpeedup: 1.5 });
    assert.ok(missed > 0 && missed < 1e-6);
  });
});
