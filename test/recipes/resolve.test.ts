import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { CompressionError } from '../../src/errors.ts';
import { definePass, type Pass, type Stage } from '../../src/passes/pass.ts';
import { describePasses, describePresets } from '../../src/recipes/catalog.ts';
import { canonicalize } from '../../src/passes/canonicalize/canonicalize.ts';
import { planOf } from '../../src/recipes/estimate.ts';
import { PRESETS } from '../../src/recipes/presets.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { PASSES } from '../../src/passes/registry.ts';

/** A pass that does nothing, for the rules that depend on stages and needs only. */
function passOf(name: string, stage: Stage): Pass {
  return definePass({
    name,
    stage,
    description: name,
    papers: [],
    options: z.strictObject({ level: z.number().default(3) }),
    example: {},
    needs: ({ level }) => (level > 5 ? ['training'] : []),
    requires: () => undefined,
    run: () => Promise.resolve({ changes: 0, skipped: [], warnings: [], details: {} }),
    ensures: () => undefined,
  });
}

const TABLE = [
  canonicalize,
  passOf('prune.x', 'prune'),
  passOf('distill.x', 'distill'),
  passOf('quantize.x', 'quantize'),
];
const resolve = (...names: string[]) => resolveRecipe({ version: 1, steps: names.map((pass) => ({ pass })) }, TABLE);
const refusal = (...names: string[]): CompressionError => {
  try {
    resolve(...names);
  } catch (error) {
    assert.ok(error instanceof CompressionError);
    return error;
  }
  return assert.fail('was taken');
};

describe('resolveRecipe', () => {
  it('R2 refuses a stage before the one ahead of it, with the reason and the place', () => {
    const error = refusal('quantize.x', 'prune.x');
    assert.equal(error.code, 'RECIPE_INVALID');
    assert.equal(error.places[0]?.pointer, '/recipe/steps/1/pass');
    assert.match(error.places[0].message, /prune\.x \(stage prune\) cannot run after quantize\.x/);
  });

  it('takes stages in order, and a stage twice', () => {
    assert.equal(resolve('canonicalize', 'prune.x', 'prune.x', 'distill.x', 'quantize.x').steps.length, 5);
  });

  it('names every step that is out of order', () => {
    assert.deepEqual(
      refusal('quantize.x', 'distill.x', 'prune.x').places.map(({ pointer }) => pointer),
      ['/recipe/steps/1/pass', '/recipe/steps/2/pass'],
    );
  });

  it('fills options, and asks the pass with them what it needs', () => {
    const recipe = { version: 1 as const, steps: [{ pass: 'prune.x', level: 9 }, { pass: 'prune.x' }] };
    const { steps } = resolveRecipe(recipe, TABLE);
    assert.deepEqual(
      steps.map(({ needs }) => needs),
      [['training'], []],
    );
    assert.deepEqual(steps[1]?.options, { level: 3 });
  });

  it('plans canonicalize ahead of a recipe that leaves it out, once', () => {
    const plan = planOf(resolve('prune.x').steps, TABLE[0]);
    assert.deepEqual(
      plan.map(({ pass, implicit }) => [pass, implicit]),
      [
        ['canonicalize', true],
        ['prune.x', false],
      ],
    );
    assert.equal(planOf(resolve('canonicalize', 'prune.x').steps, TABLE[0]).length, 2);
  });

  it('folds BatchNormalization for a step that looks at gradients and quantizes', () => {
    const recipe = { version: 1 as const, steps: [{ pass: 'quantize.mixed', sensitivity: 'hawq' }] };
    const { steps } = resolveRecipe(recipe);
    assert.ok(steps[0]?.needs.includes('training'));
    assert.deepEqual(
      planOf(steps, canonicalize).map(({ pass, options }) => [pass, options['foldBatchNormalization']]),
      [
        ['canonicalize', true],
        ['quantize.mixed', undefined],
      ],
    );
  });

  it('keeps BatchNormalization for a step that trains it, and folds it for what comes after', () => {
    const recipe = { version: 1 as const, steps: [{ pass: 'prune.x', level: 9 }, { pass: 'prune.x' }] };
    const plan = planOf(resolveRecipe(recipe, TABLE).steps, canonicalize);
    assert.deepEqual(
      plan.map(({ pass, options }) => [pass, options['foldBatchNormalization']]),
      [
        ['canonicalize', false],
        ['prune.x', undefined],
        ['canonicalize', true],
        ['prune.x', undefined],
      ],
    );
    const alone = planOf(resolveRecipe({ ...recipe, steps: recipe.steps.slice(0, 1) }, TABLE).steps, canonicalize);
    assert.deepEqual(
      alone.map(({ pass }) => pass),
      ['canonicalize', 'prune.x'],
    );
  });
});

for (const preset of PRESETS)
  describe(`preset ${preset.name}`, () => {
    it('is a valid recipe that says what it needs', () => {
      const { recipe, steps } = resolveRecipe(preset.name);
      assert.equal(recipe.steps.length, preset.steps.length);
      const listed = describePresets().find(({ name }) => name === preset.name);
      assert.deepEqual(listed?.needs, [...new Set(steps.flatMap(({ needs }) => needs))]);
      assert.ok(preset.description.length > 40);
    });
  });

for (const resource of describePasses())
  describe(`catalog entry of ${resource.name}`, () => {
    it('describes every option, with its default in the JSON Schema', () => {
      const schema = resource.options as {
        properties: Record<string, { description?: string }>;
        additionalProperties: boolean;
      };
      assert.equal(schema.additionalProperties, false);
      for (const [name, option] of Object.entries(schema.properties))
        assert.ok(option.description, `${name} has no description`);
    });

    it('has an example that is a valid step', () => {
      const steps = [resource.example as { pass: string }];
      assert.equal(resolveRecipe({ version: 1, steps }).steps[0]?.pass.name, resource.name);
    });
  });

it('the catalog lists every pass of the registry', () => {
  assert.deepEqual(
    describePasses().map(({ name }) => name),
    PASSES.map(({ name }) => name),
  );
});
