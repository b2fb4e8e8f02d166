import { z } from 'zod';
import type { Model } from '../onnx/model.ts';
import type { TrainingField } from '../schemas/training.ts';
import type { TeacherSettings } from '../training/lesson-of-teacher.ts';
import { openAlike, TeacherField, namedModel } from './named-models.ts';
import type { PassContext, ReferencedModel } from './pass.ts';

/** What a network that is trained for coarse weights learns from the model as it came into the step, or from another one. */
export const Distillation = z
  .union([
    z.literal(false),
    z.strictObject({
      weight: z.number().gt(0).max(1).default(0.5).describe('Share of the loss; the labels keep the rest'),
      temperature: z.number().positive().max(100).default(4),
      teacher: TeacherField,
    }),
  ])
  .default({ weight: 0.5, temperature: 4 })
  .describe(
    'Learns the scores of the model as it came in, beside the labels; false: labels only. With loss cross-entropy only',
  );
export type Distillation = z.output<typeof Distillation>;

/** For `models` of a pass. */
export function distillationModels({
  distillation,
}: {
  readonly distillation: Distillation;
}): readonly ReferencedModel[] {
  return distillation === false ? [] : namedModel(distillation.teacher, ['distillation', 'teacher']);
}

/**
 * What `distillation` adds to a training: the teacher, or nothing where the labels alone teach.
 *
 * @param asItCame - the model, which teaches unless another one is named. Not changed, and not to be while it teaches
 * @throws CompressionError PASS_PRECONDITION for a teacher with other inputs or outputs
 */
export async function taughtBy(
  { distillation, training }: { readonly distillation: Distillation; readonly training: TrainingField },
  asItCame: Model,
  context: PassContext,
): Promise<{ readonly teacher?: TeacherSettings }> {
  if (distillation === false || training.loss !== 'cross-entropy') return {};
  const { weight, temperature, teacher } = distillation;
  const model =
    teacher === undefined ? asItCame : await openAlike(teacher.model, 'the teacher of distillation', asItCame, context);
  return { teacher: { weight, temperature, model } };
}
