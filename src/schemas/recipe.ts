import { z } from 'zod';

export const MAX_STEPS = 32;

/** `{ "pass": name, ...options }`, one alternative a pass, discriminated by `pass`. */
export const RecipeStep = z.object({ pass: z.string() }).loose();

/** A recipe with presets expanded and all defaults filled: what is stored and run. */
export const ResolvedRecipe = z.object({ version: z.literal(1), steps: z.array(RecipeStep).min(1).max(MAX_STEPS) });
export type ResolvedRecipe = z.infer<typeof ResolvedRecipe>;

export const RecipeField = z.union([z.string(), ResolvedRecipe]);
