import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { learningRateAt, type ScheduleSettings } from '../../src/training/schedules.ts';

const RUN = { baseRate: 0.1, stepsPerEpoch: 10, epochs: 10 };
const at = (schedule: ScheduleSettings, step: number): number => learningRateAt(schedule, step, RUN);

describe('learning rate schedules', () => {
  it('constant stays', () => {
    assert.equal(at({ name: 'constant' }, 99), 0.1);
  });

  it('cosine starts at the base, is half way in the middle, ends near the final share, and never rises', () => {
    const cosine = { name: 'cosine', finalRatio: 0.1 } as const;
    assert.equal(at(cosine, 0), 0.1);
    assert.ok(Math.abs(at(cosine, 50) - 0.055) < 1e-12);
    assert.ok(at(cosine, 99) < 0.0101 && at(cosine, 99) > 0.01);
    for (let step = 1; step < 100; step += 1) assert.ok(at(cosine, step) < at(cosine, step - 1));
  });

  it('step falls at its milestones, or every so many epochs', () => {
    const milestones = { name: 'step', milestones: [3, 7], every: 30, gamma: 0.1 } as const;
    assert.deepEqual(
      [29, 30, 69, 70].map((step) => Number(at(milestones, step).toFixed(6))),
      [0.1, 0.01, 0.01, 0.001],
    );
    const every = { name: 'step', milestones: [], every: 4, gamma: 0.5 } as const;
    assert.deepEqual(
      [39, 40, 80].map((step) => Number(at(every, step).toFixed(6))),
      [0.1, 0.05, 0.025],
    );
  });

  it('linear warm-up rises to the base rate, then follows a cosine', () => {
    const warmup = { name: 'linear-warmup-cosine', warmupEpochs: 2, finalRatio: 0 } as const;
    for (let step = 1; step <= 20; step += 1) assert.ok(at(warmup, step) > at(warmup, step - 1));
    assert.ok(at(warmup, 0) > 0);
    assert.equal(at(warmup, 20), 0.1);
    assert.ok(Math.abs(at(warmup, 60) - 0.05) < 1e-12);
    assert.ok(at({ ...warmup, warmupEpochs: 1000 }, 99) <= 0.1);
  });
});
