import { z } from 'zod';

/** What a network that is trained for coarse weights learns from the model as it came into the step. */
export const Distillation = z
  .union([
    z.literal(false),
    z.strictObject({
      weight: z.number().gt(0).max(1).default(0.5).describe('Share of the loss; the labels keep the rest'),
      temperature: z.number().positive().max(100).default(4),
    }),
  ])
  .default({ weight: 0.5, temperature: 4 })
  .describe(
    'Learns the scores of the model as it came in, beside the labels; false: labels only. With loss cross-entropy only',
  );
export type Distillation = z.output<typeof Distillation>;
