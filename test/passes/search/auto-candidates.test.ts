import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DataRole } from '../../../src/passes/pass.ts';
import { candidatesFor } from '../../../src/passes/search/auto-candidates.ts';
import { PRESETS } from '../../../src/recipes/presets.ts';
import type { Constraints } from '../../../src/schemas/constraints.ts';
import { resolveRecipe } from '../../../src/recipes/resolve.ts';

const ALL: readonly DataRole[] = ['calibration', 'training', 'evaluation'];
const CONSTRAINTS: readonly Constraints[] = [
  { maxBytes: 1 },
  { maxAccuracyDrop: 0.01 },
  { minSpeedup: 2 },
  { maxLatencyP50Ms: 1, maxAccuracyDrop: 0.1 },
];
const names = (constraints: Constraints, ...roles: DataRole[]): string[] =>
  candidatesFor(constraints, new Set(roles)).map(({ name }) => name);

describe('candidates of the recipe auto', () => {
  it('need the data that is there, and are valid recipes', () => {
    for (const constraints of CONSTRAINTS)
      for (let subset = 0; subset < 2 ** ALL.length; subset++) {
        const roles = new Set(ALL.filter((_, bit) => subset & (1 << bit)));
        const candidates = candidatesFor(constraints, roles);
        assert.ok(candidates.length > 0, `none for ${JSON.stringify(constraints)} with ${[...roles].join()}`);
        for (const { name, steps } of candidates) {
          const plan = resolveRecipe({ version: 1, steps: steps.map((step) => ({ ...step })) });
          for (const role of plan.steps.flatMap(({ needs }) => needs))
            assert.ok(roles.has(role), `${name} needs ${role}`);
          // A preset's name stands for what the preset does, nothing else.
          const preset = PRESETS.find((one) => one.name === name);
          if (preset !== undefined) assert.deepEqual(steps, preset.steps, name);
        }
        assert.equal(new Set(candidates.map(({ name }) => name)).size, candidates.length);
      }
  });

  it('begin with int8, the least harmful', () => {
    assert.equal(names({ minSpeedup: 2 }, 'calibration')[0], 'int8');
    assert.equal(names({ minSpeedup: 2 })[0], 'int8-dynamic');
  });

  it('prune more from one to the next, with training where there is data for it', () => {
    assert.deepEqual(names({ minSpeedup: 9 }, ...ALL), [
      'int8',
      'prune-75-int8',
      'prune-50-int8',
      'prune-35-int8',
      'prune-20-int8',
    ]);
    assert.deepEqual(names({ minSpeedup: 9 }, 'calibration', 'evaluation'), ['int8', 'prune-75-int8', 'prune-50-int8']);
  });

  it('repair int8 only where the drop is limited and can be measured', () => {
    assert.ok(names({ maxAccuracyDrop: 0.01 }, ...ALL).includes('int8-accurate'));
    assert.ok(!names({ maxBytes: 9 }, ...ALL).includes('int8-accurate'));
    assert.ok(!names({ maxAccuracyDrop: 0.01 }, 'calibration').includes('int8-accurate'));
  });

  it('do not make small files that are no faster where speed is asked for', () => {
    assert.ok(names({ maxBytes: 9 }, ...ALL).includes('qat-w4a8'));
    assert.ok(!names({ maxBytes: 9, minSpeedup: 2 }, ...ALL).includes('qat-w4a8'));
    assert.ok(!names({ maxLatencyP50Ms: 9 }).includes('int4-weights'));
  });
});
