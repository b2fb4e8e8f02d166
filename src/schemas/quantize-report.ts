import { z } from 'zod';
import { given, listOf, recordOf } from './tolerant.ts';

/** What the report's page reads of the `details` of a step that weighed ways to quantize. */

/** What is beyond this is no measurement, and no axis could show it. */
const Figure = z.number().min(-1e24).max(1e24);
const Count = z.number().int().min(0);

const ParetoPoint = z.object({
  cost: Figure,
  loss: Figure,
  averageBits: given(Figure),
  layers: recordOf(Count).describe('How many layers have each type'),
});
export type ParetoPoint = z.infer<typeof ParetoPoint>;

const COST_UNITS = ['weightBits', 'bytes', 'bops', 'latencyNs'] as const;

const Pareto = z.object({
  unit: z.enum(COST_UNITS),
  isComplete: given(z.boolean()),
  count: given(Count),
  chosen: ParetoPoint,
  points: listOf(ParetoPoint),
});
export type Pareto = z.infer<typeof Pareto>;

const RepairTrial = z.object({
  added: given(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))).describe(
    'Of accuracy "auto": what was added to the options as given',
  ),
  givenBack: given(Count).describe('Of quantize.mixed: how many times a layer was given back to a wider type'),
  layers: recordOf(Count),
  value: Figure,
  drop: given(Figure),
  met: z.boolean(),
});
export type RepairTrial = z.infer<typeof RepairTrial>;

const RepairTrials = z.object({
  metric: given(z.string()),
  samples: given(Count),
  float: Figure,
  maxDrop: Figure,
  met: z.boolean(),
  chosen: given(z.record(z.string(), z.unknown())),
  trials: listOf(RepairTrial),
});
export type RepairTrials = z.infer<typeof RepairTrials>;

const QuantizeDetails = z.object({
  sensitivity: given(z.string()),
  pareto: given(Pareto),
  budget: given(z.object({ option: z.string(), unit: z.enum(COST_UNITS), limit: Figure })),
  accuracy: given(RepairTrials),
});
export type QuantizeDetails = z.infer<typeof QuantizeDetails>;

interface AnyStep {
  readonly pass: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Undefined for a step that weighed nothing, or says nothing of it that can be read. */
export function quantizeDetailsOf({ pass, details }: AnyStep): QuantizeDetails | undefined {
  if (!pass.startsWith('quantize.')) return undefined;
  const parsed = QuantizeDetails.safeParse(details);
  if (!parsed.success) return undefined;
  const { pareto, accuracy, ...rest } = parsed.data;
  const hasPoints = pareto !== undefined && pareto.points.length > 1;
  const hasTrials = accuracy !== undefined && accuracy.trials.length > 0;
  if (!hasPoints && !hasTrials) return undefined;
  return { ...rest, ...(hasPoints ? { pareto } : {}), ...(hasTrials ? { accuracy } : {}) };
}
