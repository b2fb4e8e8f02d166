import { defined } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { copyModel } from '../../training/copy-model.ts';
import { buildArchitecture, networkWithoutWeights } from '../../zoo/build-architecture.ts';
import type { PassContext } from '../pass.ts';
import { alike, openAlike } from '../named-models.ts';
import { interfaceObstacle } from '../replace-model.ts';
import type { DistillOptions, StudentField } from './options.ts';

/**
 * The network that learns, with the names of the model it will replace.
 *
 * @throws CompressionError PASS_PRECONDITION where it takes or gives something else than the model
 */
export async function studentOf(field: StudentField, model: Model, context: PassContext): Promise<Model> {
  if (field === 'self') return copyModel(model);
  if ('architecture' in field) return alike(buildArchitecture(field, context.seed), 'distill', model);
  return openAlike(field.model, 'distill', model, context);
}

/** What makes a network of the zoo no student of the model, in words; nothing is drawn for it. */
export function architectureObstacle(field: StudentField, model: Model): string | undefined {
  if (field === 'self' || !('architecture' in field)) return undefined;
  return interfaceObstacle(networkWithoutWeights(field), model);
}

/** The model the student learns from: the one that is named, else the model so far, or, when that is the student, the job's input. */
export async function teacherOf(
  { student, teacher }: Pick<DistillOptions, 'student' | 'teacher'>,
  model: Model,
  context: PassContext,
): Promise<Model> {
  if (teacher !== undefined) return openAlike(teacher.model, 'distill: teacher', model, context);
  return student === 'self' ? defined(context.input, 'the input model of the job') : model;
}
