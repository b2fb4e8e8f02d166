import { z } from 'zod';
import { CompressionError } from '../../errors.ts';

const Rank = z
  .number()
  .positive()
  .max(1_000_000)
  .refine((value) => value < 1 || Number.isInteger(value), 'must be a whole number, or a share below 1');

const globs = z.array(z.string().min(1).max(256)).max(256);

/** What `factorize.svd` and `factorize.tucker` have in common. At most one of `RANK_OPTIONS`. */
export const SHARED_OPTIONS = {
  rank: Rank.optional().describe('Rank of each layer: a whole number, or below 1 the share of its full rank'),
  ranks: z
    .record(z.string().min(1).max(256), z.union([Rank, z.null()]))
    .optional()
    .describe(
      'Rank of layers by node name or operator type (* and ? are wildcards; the first match counts); null, and layers that none matches: as they are',
    ),
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
  errorBudget: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe(
      'Largest share of the squared outputs of the model that may be lost, measured on the calibration data; layers go down in rank while it holds, those that cost the least error per multiply-accumulate first',
    ),
  maxAccuracyDrop: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe(
      'In place of errorBudget: largest drop of top-1 on the calibration data, which need class labels (0.01: one point)',
    ),
  dataAware: z
    .union([z.literal('auto'), z.boolean()])
    .default('auto')
    .describe('Keep what matters for the inputs that the calibration data show; auto: where the job has such data'),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
  exclude: globs.default([]).describe('Node names or operator types to leave as they are; * and ? are wildcards'),
};

const RANK_OPTIONS = ['rank', 'ranks', 'energy', 'macsRatio', 'errorBudget', 'maxAccuracyDrop'] as const;

export interface RankOptions {
  readonly rank?: number | undefined;
  readonly ranks?: NamedRanks | undefined;
  readonly energy?: number | undefined;
  readonly macsRatio?: number | undefined;
  readonly errorBudget?: number | undefined;
  readonly maxAccuracyDrop?: number | undefined;
}

/** By glob of node names or operator types; null: as it is. */
export type NamedRanks = Readonly<Record<string, number | null>>;

/** What the ranks go by. */
export type RankRule =
  | { readonly by: 'rank'; readonly rank: number }
  | { readonly by: 'energy'; readonly energy: number }
  | { readonly by: 'macs'; readonly ratio: number }
  | LossBudget;

/** What the whole model may lose, as measured. */
export interface LossBudget {
  readonly by: 'budget';
  readonly of: 'error' | 'accuracyDrop';
  readonly most: number;
}

const DEFAULT_ENERGY = 0.9;

/** @returns what is wrong with the combination, or undefined */
export function conflictOf(options: RankOptions): string | undefined {
  const given = RANK_OPTIONS.filter((name) => options[name] !== undefined);
  return given.length <= 1 ? undefined : `${given.join(' and ')} exclude each other; give one of them`;
}

/** @throws CompressionError RECIPE_INVALID when several rules are given */
export function rankRuleOf(options: RankOptions): RankRule | { readonly by: 'name'; readonly ranks: NamedRanks } {
  const conflict = conflictOf(options);
  if (conflict !== undefined) throw new CompressionError('RECIPE_INVALID', conflict);
  if (options.rank !== undefined) return { by: 'rank', rank: options.rank };
  if (options.ranks !== undefined) return { by: 'name', ranks: options.ranks };
  if (options.macsRatio !== undefined) return { by: 'macs', ratio: options.macsRatio };
  if (options.errorBudget !== undefined) return { by: 'budget', of: 'error', most: options.errorBudget };
  if (options.maxAccuracyDrop !== undefined) return { by: 'budget', of: 'accuracyDrop', most: options.maxAccuracyDrop };
  return { by: 'energy', energy: options.energy ?? DEFAULT_ENERGY };
}

/** Data that a step cannot do without. */
export function neededRoles(options: RankOptions & { readonly dataAware: 'auto' | boolean }): readonly 'calibration'[] {
  const measures = options.errorBudget !== undefined || options.maxAccuracyDrop !== undefined;
  return measures || options.dataAware === true ? ['calibration'] : [];
}
