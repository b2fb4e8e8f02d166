import { z } from 'zod';
import { CompressionError, type ErrorPlace } from '../errors.ts';
import { issuesOf, placesOf, pointerOf } from '../schemas/error-places.ts';
import { needsOf, underSteps } from '../passes/inner-steps.ts';
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
  const inner = steps.flatMap((step, index) => innerProblems(step, index, passes));
  const places = [...orderProblems(steps), ...searchProblems(steps), ...inner];
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

/** A search asks for trials on the job's own model, so that two of them in a row could not build upon each other. */
function searchProblems(steps: readonly PlannedStep[]): ErrorPlace[] {
  const searches = [...steps.entries()].filter(([, { pass }]) => pass.stage === 'search');
  return searches.slice(1).map(([index]) => ({
    pointer: `/recipe/steps/${index}/pass`,
    message: 'a recipe has one search at most; run the second one as a job on the result of the first',
  }));
}

/** What is wrong with the steps that a search runs as trials: each of its values is tried. */
function innerProblems({ pass, options }: PlannedStep, index: number, passes: readonly Pass[]): ErrorPlace[] {
  const places = new Map<string, ErrorPlace>();
  for (const { steps, origin = underSteps } of pass.inner?.(options) ?? []) {
    const at = (path: readonly PropertyKey[], message: string): void => {
      const pointer = pointerOf(['recipe', 'steps', index, ...origin(path)]);
      places.set(`${pointer} ${message}`, { pointer, message });
    };
    let latest = 0;
    for (const [place, { pass: name, ...given }] of steps.entries()) {
      const inner = passes.find((candidate) => candidate.name === name);
      if (inner === undefined) at([place, 'pass'], `there is no pass ${name}`);
      else if (inner.stage === 'search') at([place, 'pass'], 'a search cannot run another search');
      else {
        const parsed = inner.options.safeParse(given);
        const issues = parsed.success ? [] : issuesOf(parsed.error.issues);
        for (const { path, message } of issues) at([place, ...path], message);
        const stage = STAGES.indexOf(inner.stage);
        if (stage < latest) at([place, 'pass'], `comes too late: the order is ${STAGES.join(', ')}`);
        latest = Math.max(latest, stage);
      }
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
