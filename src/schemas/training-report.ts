import { z } from 'zod';

/** How a run of training went: `steps[].training` of the report. Epochs, steps and updates count from 0. */

const Count = z.number().int().min(0);

export const TrainingEpoch = z.object({
  epoch: Count,
  loss: z.number().describe('Mean over the batches of the epoch'),
  parts: z
    .record(z.string(), z.number())
    .optional()
    .describe('The same for each term of a weighted loss, without its weight; absent where there is but one'),
  learningRate: z.number().describe('At the last update of the epoch'),
  imagesPerSecond: z.number().min(0).describe('Samples trained on, over the time of the steps; validation apart'),
  seconds: z
    .number()
    .min(0)
    .describe('Steps and validation; in an epoch that was resumed, what the attempt that finished it took'),
  validation: z
    .object({
      metric: z.enum(['top1', 'rmse']).describe('top1: larger is better; rmse: smaller is better'),
      value: z.number().nullable().describe('Null when the outputs were not finite'),
      samples: Count,
    })
    .optional(),
});
export type TrainingEpoch = z.infer<typeof TrainingEpoch>;

export const TrainingRunReport = z.object({
  name: z
    .enum(['model', 'student', 'student-alone', 'shared-whole', 'shared-parts', 'mixed'])
    .describe(
      'student: taught by the teacher; student-alone: its twin without one, on the same batches; shared-whole, shared-parts: of a search, the largest network alone, and its parts; mixed: of a search, all operations side by side',
    ),
  afterStep: z
    .int()
    .min(1)
    .optional()
    .describe('After which of its steps, from 1 on, a pass trained that does so several times (prune.channels)'),
  plannedEpochs: Count,
  epochs: z.array(TrainingEpoch),
  keptEpoch: Count.describe('Whose weights are the result'),
  keptBy: z.enum(['validation', 'last']).describe('Best validation value, or simply the last epoch'),
  stoppedEarly: z
    .boolean()
    .describe('`patience`, or the early end of a search, ended the run before the planned epochs'),
  learningRate: z.number().describe('At the start of the schedule, of the attempt that succeeded'),
  updates: Count.describe('Of the weights, in all'),
  divergences: z
    .array(z.object({ learningRate: z.number(), epoch: Count, step: Count, reason: z.string() }))
    .describe('Attempts that were given up; each was followed by one from the beginning at a tenth of the rate'),
  resumedAt: z
    .array(z.object({ epoch: Count, step: Count }))
    .describe('Where the run went on from a saved state after its process had ended'),
});
export type TrainingRunReport = z.infer<typeof TrainingRunReport>;
