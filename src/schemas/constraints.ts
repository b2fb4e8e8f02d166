import { z } from 'zod';

/** What a job asks of its result. */
export const Constraints = z.strictObject({
  maxAccuracyDrop: z.number().min(0).max(1).optional().describe('Share, 0..1: before minus after'),
  maxBytes: z.number().int().positive().optional(),
  maxLatencyP50Ms: z.number().positive().optional(),
  minSpeedup: z.number().positive().optional(),
});
export type Constraints = z.infer<typeof Constraints>;
