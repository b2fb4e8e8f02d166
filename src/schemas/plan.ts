import { z } from 'zod';

export const PlanStep = z.object({
  pass: z.string(),
  stage: z.string(),
  implicit: z.boolean().describe('Not in the recipe, but always run'),
  options: z.record(z.string(), z.unknown()).describe('With the defaults filled in'),
  needs: z.array(z.string()).describe('Data roles'),
});
export type PlanStep = z.infer<typeof PlanStep>;

export const Estimate = z.object({
  outputBytes: z.number().int(),
  memoryBytes: z.number().int(),
  seconds: z.number().nullable(),
  secondsRange: z
    .tuple([z.number(), z.number()])
    .nullable()
    .describe('What the time may well be on another CPU or another kind of network: [low, high]'),
  basis: z.object({ outputBytes: z.string(), memoryBytes: z.string(), seconds: z.string() }),
});
export type Estimate = z.infer<typeof Estimate>;

/** Answer of a dry run. */
export const DryRun = z.object({ plan: z.array(PlanStep), estimate: Estimate });
export type DryRun = z.infer<typeof DryRun>;
