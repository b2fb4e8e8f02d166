import { underSteps } from '../passes/inner-steps.ts';
import type { InnerRecipe, ReferencedModel } from '../passes/pass.ts';
import { PASSES } from '../passes/registry.ts';
import { pointerOf } from '../schemas/error-places.ts';
import type { ResolvedRecipe } from '../schemas/recipe.ts';

/** An uploaded model that a step of a recipe reads besides the one it is given. */
export interface RecipeModel {
  readonly id: string;
  /** Where the request names it, RFC 6901. */
  readonly pointer: string;
  readonly as: ReferencedModel['as'];
}

/** The further models of a recipe, those of trials included, in the order of its steps; one may stand there twice. */
export function referencedModels(recipe: ResolvedRecipe): readonly RecipeModel[] {
  return recipe.steps.flatMap((step, index) =>
    modelsOf(step).map(({ id, path, as }) => ({ id, as, pointer: pointerOf(['recipe', 'steps', index, ...path]) })),
  );
}

function modelsOf({ pass: name, ...given }: InnerRecipe['steps'][number]): readonly ReferencedModel[] {
  const pass = PASSES.find((candidate) => candidate.name === name);
  if (pass === undefined) return [];
  const options = pass.options.parse(given);
  const inner = (pass.inner?.(options) ?? []).flatMap(({ steps, origin = underSteps }) =>
    steps.flatMap((step, place) =>
      modelsOf(step).map(({ path, ...model }) => ({ ...model, path: origin([place, ...path]) })),
    ),
  );
  return [...(pass.models?.(options) ?? []), ...inner];
}

/** Key of a further model among the hashes of a job's inputs. */
export function inputKeyOf(id: string): string {
  return `models/${id}`;
}
