import { PASSES } from '../passes/registry.ts';
import { pointerOf } from '../schemas/error-places.ts';
import type { ResolvedRecipe } from '../schemas/recipe.ts';

/** An uploaded model that a step of a recipe reads besides the one it is given: a student, say. */
export interface RecipeModel {
  readonly id: string;
  /** Where the request names it, RFC 6901. */
  readonly pointer: string;
}

/** The further models of a recipe, in the order of its steps; one may stand there twice. */
export function referencedModels(recipe: ResolvedRecipe): readonly RecipeModel[] {
  return recipe.steps.flatMap(({ pass: name, ...given }, index) => {
    const pass = PASSES.find((candidate) => candidate.name === name);
    if (pass?.models === undefined) return [];
    return pass.models(pass.options.parse(given)).map(({ id, path }) => ({
      id,
      pointer: pointerOf(['recipe', 'steps', index, ...path]),
    }));
  });
}

/** Key of a further model among the hashes of a job's inputs. */
export function inputKeyOf(id: string): string {
  return `models/${id}`;
}
