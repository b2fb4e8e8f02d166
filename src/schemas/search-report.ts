import { z } from 'zod';
import { given, listOf, recordOf } from './tolerant.ts';

/** What the report's page reads of the `details` of a step that searched. */

/** Figures of a candidate, in the order in which they are shown. */
export const SEARCH_FIGURES = [
  'accuracy',
  'bytes',
  'parameters',
  'macs',
  'bops',
  'latencyEstimateMs',
  'reward',
] as const;
export type SearchFigure = (typeof SEARCH_FIGURES)[number];

const Count = z.number().int().min(0);
/** What is beyond this is no measurement, and no axis could show it. */
const Figure = z.number().min(-1e24).max(1e24);
const figures = {
  accuracy: given(Figure),
  bytes: given(Figure),
  parameters: given(Figure),
  macs: given(Figure),
  bops: given(Figure),
  latencyEstimateMs: given(Figure),
  reward: given(Figure),
  metric: given(z.string()),
};

export const SearchTrial = z.object({
  index: Count,
  point: z.record(z.string(), z.unknown()).catch({}),
  status: z.enum(['succeeded', 'failed', 'rejected', 'stopped']),
  budget: given(z.number().min(0).max(1)).describe('Share of the training that it had; absent: all of it'),
  ...figures,
  violation: z.number().min(0).nullish().catch(undefined).describe('0: within all limits; null: not finite'),
  reason: given(z.string()),
});
export type SearchTrial = z.infer<typeof SearchTrial>;

const range = { name: z.string(), min: z.number(), max: z.number() };
const SearchDimension = z.discriminatedUnion('type', [
  z.object({ name: z.string(), type: z.literal('choice'), values: z.array(z.unknown()).min(1) }),
  z.object({ ...range, type: z.literal('integer') }),
  z.object({ ...range, type: z.literal('real'), log: given(z.boolean()) }),
]);
export type SearchDimension = z.infer<typeof SearchDimension>;

const ImportanceEntry = z.object({ name: z.string(), share: z.number() });
/** By name, or as a list of entries; shares largest first. */
const Importance = z
  .union([
    listOf(ImportanceEntry).refine((list) => list.length > 0),
    recordOf(z.number()).transform((entries) => entries.map(([name, share]) => ({ name, share }))),
  ])
  .catch([])
  .transform((list) => list.toSorted((a, b) => b.share - a.share));

const SearchRandom = z.object({
  trials: given(Count),
  best: given(SearchTrial),
  found: given(SearchTrial),
  curves: given(
    z.object({
      search: z.array(z.number().nullable()),
      random: z.array(z.number().nullable()),
    }),
  ),
});
export type SearchRandom = z.infer<typeof SearchRandom>;

/** Of `search.compression` and `search.architecture`. */
const SearchDetails = z.object({
  strategy: given(z.string()),
  seed: given(z.number()),
  space: z
    .object({
      size: z.number().nullish().catch(undefined).describe('null: it has a continuous dimension'),
      dimensions: listOf(SearchDimension),
    })
    .catch({ size: undefined, dimensions: [] }),
  objectives: listOf(z.enum(SEARCH_FIGURES)),
  constraints: recordOf(z.number()),
  cutShort: z.boolean().catch(false),
  best: given(Count),
  bestOverall: given(Count).describe('By the objectives alone, limits or not'),
  front: listOf(Count),
  trials: listOf(SearchTrial),
  hypervolume: given(z.array(z.number())),
  importance: Importance,
  random: given(SearchRandom),
  timing: listOf(z.object({ index: Count, latencyP50Ms: z.number().min(0) })).describe('Of the candidates handed out'),
  winner: given(z.record(z.string(), z.unknown())),
  correlations: recordOf(
    z.object({ kendallTau: z.number().nullish().catch(undefined), spearman: z.number().nullish().catch(undefined) }),
  ),
  proxy: given(z.object({ score: z.string(), candidates: Count, scored: Count })).describe(
    'By what candidates were picked for training, and out of how many',
  ),
  finalTraining: given(z.object({ status: z.string(), ...figures })),
});
export type SearchDetails = z.infer<typeof SearchDetails>;

const AutoCandidateReport = z.object({
  name: z.string(),
  why: given(z.string()),
  status: z.enum(['succeeded', 'failed']),
  error: given(z.object({ code: z.string(), message: z.string() })),
  metric: given(z.string()),
  accuracy: given(z.number()),
  accuracyBefore: given(z.number()),
  bytes: given(z.number()),
  bytesBefore: given(z.number()),
  latencyP50Ms: given(z.number()),
  latencyBeforeP50Ms: given(z.number()),
  speedup: given(z.number()),
  verdict: given(z.enum(['met', 'missed', 'none'])),
  missedBy: z.number().nullish().catch(undefined),
});
export type AutoCandidateReport = z.infer<typeof AutoCandidateReport>;

/** Of `search.auto`. */
const AutoDetails = z.object({
  chosen: z.string(),
  because: given(z.string()),
  recipe: given(z.record(z.string(), z.unknown())),
  cutShort: z.boolean().catch(false),
  candidates: listOf(AutoCandidateReport),
  notTried: listOf(z.string()),
});
export type AutoDetails = z.infer<typeof AutoDetails>;

interface AnyStep {
  readonly pass: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Undefined for a step that is no search over candidates, or says nothing of them that can be read. */
export function searchDetailsOf({ pass, details }: AnyStep): SearchDetails | undefined {
  if (!pass.startsWith('search.')) return undefined;
  const parsed = SearchDetails.safeParse(details);
  return parsed.success && parsed.data.trials.length > 0 ? parsed.data : undefined;
}

/** Undefined for a step that is no `search.auto`, or says nothing of its candidates that can be read. */
export function autoDetailsOf({ pass, details }: AnyStep): AutoDetails | undefined {
  if (!pass.startsWith('search.')) return undefined;
  const parsed = AutoDetails.safeParse(details);
  return parsed.success && parsed.data.candidates.length > 0 ? parsed.data : undefined;
}

/** Whether the report has something to show of a search in this step. */
export function isSearch(step: AnyStep): boolean {
  return autoDetailsOf(step) !== undefined || searchDetailsOf(step) !== undefined;
}
