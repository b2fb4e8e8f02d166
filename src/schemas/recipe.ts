import { z } from 'zod';
import type { Pass } from '../passes/pass.ts';
import { PASSES } from '../passes/registry.ts';
import { PRESET_NAMES } from '../recipes/presets.ts';

const MAX_STEPS = 32;

/** A step as it is stored: the pass's name and its options, defaults filled. */
const RecipeStep = z.object({ pass: z.string() }).loose();
export type RecipeStep = z.infer<typeof RecipeStep>;

/** A recipe with presets expanded and all defaults filled: what is stored and run. */
export const ResolvedRecipe = z.object({ version: z.literal(1), steps: z.array(RecipeStep).min(1).max(MAX_STEPS) });
export type ResolvedRecipe = z.infer<typeof ResolvedRecipe>;

/**
 * `{ "pass": name, ...options }`: one alternative a pass, told apart by `pass`.
 *
 * @throws TypeError when a pass's options are not an object schema: then its fields cannot stand beside `pass`
 */
function recipeStepOf(passes: readonly Pass[]): z.ZodType<RecipeStep> {
  const alternatives = passes.map((pass): z.ZodObject => {
    if (!(pass.options instanceof z.ZodObject)) throw new TypeError(`options of ${pass.name} must be an object schema`);
    return pass.options.safeExtend({ pass: z.literal(pass.name) }).describe(pass.description);
  });
  const [first, ...others] = alternatives;
  if (first === undefined) return z.never({ error: 'there are no passes' });
  const names = passes.map((pass) => pass.name).join(', ');
  return z
    .discriminatedUnion('pass', [first, ...others], {
      error: (issue) =>
        typeof issue.input === 'object' && issue.input !== null
          ? `there is no such pass; there are: ${names}`
          : 'must be a step: { "pass": name, ...options }',
    })
    .pipe(RecipeStep);
}

/** A recipe as a client writes it: every step checked against its pass, missing options filled with their defaults. */
export const Recipe = z.strictObject({
  version: z.literal(1, { error: 'must be 1, the only version of recipes there is' }).default(1),
  steps: z
    .array(recipeStepOf(PASSES))
    .min(1)
    .max(MAX_STEPS, { error: `must have at most ${MAX_STEPS} steps` })
    .describe('Run in this order; stages: canonicalize, search, prune, distill, quantize'),
});

const noSuchPreset = `there is no such preset; there are: auto, ${PRESET_NAMES.join(', ')}`;

const PresetName = z.enum(PRESET_NAMES, { error: noSuchPreset }).describe('Name of a preset (GET /v1/presets)');

/** The service chooses the steps from the constraints of the job. */
export const AUTO_RECIPE = 'auto';
const AutoRecipe = z.literal(AUTO_RECIPE).describe('The service chooses the steps from the constraints');

export const RecipeField = z.union([PresetName, AutoRecipe, Recipe], {
  error: (issue) =>
    typeof issue.input === 'string'
      ? noSuchPreset
      : 'must be a recipe { version, steps } the name of a preset, or "auto"',
});
