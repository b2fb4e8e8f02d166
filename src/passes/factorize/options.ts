import { z } from 'zod';
import { CompressionError } from '../../errors.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);

/** What `factorize.svd` and `factorize.tucker` have in common. At most one of `rank`, `energy`, `macsRatio`. */
export const SHARED_OPTIONS = {
  rank: z
    .number()
    .positive()
    .max(1_000_000)
    .refine((value) => value < 1 || Number.isInteger(value), 'must be a whole number, or a share below 1')
    .optional()
    .describe('Rank of each layer: a whole number, or below 1 the share of its full rank'),
  energy: z
    .number()
    .gt(0)
    .lte(1)
    .optional()
    .describe(
      'Smallest rank that keeps this share of the squared singular values; 0.9 where nothing else is asked for',
    ),
  macsRatio: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe("Share of the model's multiply-accumulates that is kept; ranks are chosen where they cost the least"),
  dataAware: z
    .union([z.literal('auto'), z.boolean()])
    .default('auto')
    .describe('Keep what matters for the inputs that the calibration data show; auto: where the job has such data'),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
  exclude: globs.default([]).describe('Node names or operator types to leave as they are; * and ? are wildcards'),
};

interface RankOptions {
  readonly rank?: number | undefined;
  readonly energy?: number | undefined;
  readonly macsRatio?: number | undefined;
}

/** What the ranks go by. */
export type RankRule =
  | { readonly by: 'rank'; readonly rank: number }
  | { readonly by: 'energy'; readonly energy: number }
  | { readonly by: 'macs'; readonly ratio: number };

const DEFAULT_ENERGY = 0.9;

/** @returns what is wrong with the combination, or undefined */
export function conflictOf(options: RankOptions): string | undefined {
  const given = (['rank', 'energy', 'macsRatio'] as const).filter((name) => options[name] !== undefined);
  return given.length <= 1 ? undefined : `${given.join(' and ')} exclude each other; give one of them`;
}

/** @throws CompressionError RECIPE_INVALID when several rules are given */
export function rankRuleOf(options: RankOptions): RankRule {
  const conflict = conflictOf(options);
  if (conflict !== undefined) throw new CompressionError('RECIPE_INVALID', conflict);
  if (options.rank !== undefined) return { by: 'rank', rank: options.rank };
  if (options.macsRatio !== undefined) return { by: 'macs', ratio: options.macsRatio };
  return { by: 'energy', energy: options.energy ?? DEFAULT_ENERGY };
}
