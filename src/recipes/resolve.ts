import { z } from 'zod';
import { CompressionError, type ErrorPlace } from '../errors.ts';
import { placesOf, pointerOf } from '../schemas/error-places.ts';
import { needsOf } from '../passes/inner-steps.ts';
import { STAGES, type DataRole, type Pass } from '../passes/pass.ts';
import { PASSES } from '../passes/registry.ts';
import { Recipe, type ResolvedRecipe } from '../schemas/recipe.ts';
import { presetNamed } from './presets.ts';

/** A step of a resolved recipe together with the pass it names and its options as the pass's schema gave them. */
export interface PlannedStep {
  readonly pass: Pass;
  readonly options: unknown;
  readonly needs: readonly DataRole[];
}

export interface ResolvedPlan {
  readonly recipe: ResolvedRecipe;
  readonly steps: readonly PlannedStep[];
}

/**
 * Expands a preset, fills defaults and checks what the schema of a single step cannot see: the order of the stages.
 *
 * @param field - a preset's name, or a recipe that its schema has passed
 * @throws CompressionError RECIPE_INVALID with a pointer to each wrong place
 */
export function resolveRecipe(field: string | ResolvedRecipe, passes: readonly Pass[] = PASSES): ResolvedPlan {
  const recipe = typeof field === 'string' ? presetRecipe(field) : field;
  const steps = recipe.steps.map((step, index): PlannedStep => {
    const pass = passes.find((candidate) => candidate.name === step.pass);
    if (pass === undefined)
      throw recipeError([{ pointer: `/recipe/steps/${index}/pass`, message: `there is no pass ${step.pass}` }]);
    const given = Object.entries(step).filter(([name]) => name !== 'pass');
    const options = pass.options.safeParse(Object.fromEntries(given));
    if (!options.success) throw recipeError(placesOf(options.error.issues, ['recipe', 'steps', index]));
    return { pass, options: options.data, needs: needsOf({ pass, options: options.data }, passes) };
  });
  const places = [...orderProblems(steps), ...steps.flatMap((step, index) => innerProblems(step, index, passes))];
  if (places.length > 0) throw recipeError(places);
  return { recipe, steps };
}

function presetRecipe(name: string): ResolvedRecipe {
  const preset = presetNamed(name);
  if (preset === undefined) throw recipeError([{ pointer: '/recipe', message: `there is no preset ${name}` }]);
  const result = Recipe.safeParse({ version: 1, steps: preset.steps });
  if (result.success) return result.data;
  throw new CompressionError('INTERNAL', `preset ${name} is not a valid recipe: ${z.prettifyError(result.error)}`);
}

function orderProblems(steps: readonly PlannedStep[]): ErrorPlace[] {
  return steps.flatMap(({ pass }, index) => {
    const before = steps[index - 1]?.pass;
    if (before === undefined) return [];
    const pointer = `/recipe/steps/${index}/pass`;
    if (pass.stage === 'canonicalize')
      return [{ pointer, message: `${pass.name} always runs first; leave it out or put it at the top, once` }];
    if (STAGES.indexOf(pass.stage) >= STAGES.indexOf(before.stage)) return [];
    return [
      {
        pointer,
        message: `${pass.name} (stage ${pass.stage}) cannot run after ${before.name} (stage ${before.stage}): the order is ${STAGES.join(', ')}; move it ahead`,
      },
    ];
  });
}

/** What is wrong with the steps that a search runs as trials: each of its values is tried. */
function innerProblems({ pass, options }: PlannedStep, index: number, passes: readonly Pass[]): ErrorPlace[] {
  const places = new Map<string, ErrorPlace>();
  for (const { steps } of pass.inner?.(options) ?? []) {
    const stages: number[] = [];
    for (const [place, { pass: name, ...given }] of steps.entries()) {
      const base = ['recipe', 'steps', index, 'steps', place];
      const inner = passes.find((candidate) => candidate.name === name);
      const problems: ErrorPlace[] = [];
      if (inner === undefined)
        problems.push({ pointer: pointerOf([...base, 'pass']), message: `there is no pass ${name}` });
      else if (inner.stage === 'search')
        problems.push({ pointer: pointerOf([...base, 'pass']), message: 'a search cannot run another search' });
      else {
        const parsed = inner.options.safeParse(given);
        if (!parsed.success) problems.push(...placesOf(parsed.error.issues, base));
        stages.push(STAGES.indexOf(inner.stage));
        if ((stages.at(-2) ?? 0) > (stages.at(-1) ?? 0))
          problems.push({
            pointer: pointerOf([...base, 'pass']),
            message: `comes too late: the order is ${STAGES.join(', ')}`,
          });
      }
      for (const problem of problems) places.set(`${problem.pointer} ${problem.message}`, problem);
    }
  }
  return [...places.values()];
}

function recipeError(places: readonly ErrorPlace[]): CompressionError {
  const first = places[0];
  return new CompressionError(
    'RECIPE_INVALID',
    `The recipe is not valid: ${first?.pointer ?? ''} ${first?.message ?? ''}`,
    { places },
  );
}
