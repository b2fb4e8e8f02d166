import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PASSES } from '../../src/passes/registry.ts';
import { plannedNetwork } from '../../src/recipes/planned-model.ts';
import { trainingCost } from '../../src/recipes/training-cost.ts';
import type { PlannedStep } from '../../src/recipes/resolve.ts';

const [STUDENT, TEACHER] = ['mdl_student0000000000000000000', 'mdl_teacher0000000000000000000'];
const SAMPLES = { calibration: 0, training: 1000, evaluation: 200 };
const resnet20 = plannedNetwork({ architecture: 'resnet', depth: 20, shortcut: 'pad' });
const resnet56 = plannedNetwork({ architecture: 'resnet', depth: 56, shortcut: 'pad' });

function step(name: string, options: object): PlannedStep {
  const pass = PASSES.find((candidate) => candidate.name === name);
  assert.ok(pass !== undefined);
  const parsed = pass.options.parse(options);
  return { pass, options: parsed, needs: pass.needs(parsed) };
}

const cost = (...steps: PlannedStep[]) =>
  trainingCost(steps, (role) => SAMPLES[role], {
    model: resnet56,
    named: new Map([
      [STUDENT, resnet20],
      [TEACHER, resnet56],
    ]),
  });

describe('trainingCost', () => {
  // Multiply-accumulates a sample, from the table in docs/architectures.md: 125,485,696 and 40,551,040.
  const [large, small] = [resnet56.macs ?? 0, resnet20.macs ?? 0];

  it('counts forward and backward of each epoch, and validation', () => {
    const training = { epochs: 3, validation: { role: 'evaluation' } };
    assert.equal(cost(step('train.finetune', { training })).macs, 3 * large * (3 * 1000 + 200));
    const half = { epochs: 3, validation: { fraction: 0.5 } };
    assert.equal(cost(step('train.finetune', { training: half })).macs, 3 * large * (3 * 500 + 500));
  });

  it('counts the teacher once a sample and the twin as another student, and goes on with the student', () => {
    const training = { epochs: 2, validation: { fraction: 0 } };
    const student = { architecture: 'resnet', depth: 20, shortcut: 'pad' };
    const alone = cost(step('distill', { student, training }));
    assert.equal(alone.macs, 2 * 1000 * (3 * small + large));
    const withTwin = cost(step('distill', { student, training, baseline: true }));
    assert.equal(withTwin.macs, 2 * 1000 * (6 * small + large));
    const both = cost(step('distill', { student, training }), step('train.finetune', { training }));
    assert.equal(both.macs, 2 * 1000 * (3 * small + large) + 2 * 1000 * 3 * small);
  });

  it('counts a named teacher as what teaches, not as what is trained', () => {
    const training = { epochs: 2, validation: { fraction: 0 } };
    const [student, teacher] = [{ model: STUDENT }, { model: TEACHER }];
    const taught = 2 * 1000 * (3 * small + large);
    assert.equal(cost(step('distill', { student, teacher, training })).macs, taught);
    const own = trainingCost(
      [step('quantize.aware', { training, distillation: { teacher } })],
      (role) => SAMPLES[role],
      {
        model: resnet20,
        named: new Map([[TEACHER, resnet56]]),
      },
    );
    assert.equal(own.macs, taught);
  });

  it('takes nothing where nothing is trained, and says when it cannot know', () => {
    assert.deepEqual(cost(step('quantize.dynamic', {})), { macs: 0, samples: 0, bytes: 0, knowsActivations: true });
    const unknown = { ...resnet20, macs: null };
    const training = trainingCost([step('train.finetune', {})], () => 10, { model: unknown, named: new Map() });
    assert.equal(training.macs, null);
  });

  it('grows in memory with the batch', () => {
    const bytes = (batchSize: number): number => cost(step('train.finetune', { training: { batchSize } })).bytes;
    assert.ok(bytes(256) - bytes(128) > 128 * 1e6);
  });
});
