import { CompressionError, defined } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { copyModel } from '../../training/copy-model.ts';
import { buildArchitecture, networkWithoutWeights } from '../../zoo/build-architecture.ts';
import type { PassContext } from '../pass.ts';
import { interfaceObstacle, takeNames } from '../replace-model.ts';
import type { StudentField } from './options.ts';

/**
 * The network that learns, with the names of the model it will replace.
 *
 * @throws CompressionError PASS_PRECONDITION where it takes or gives something else than the model
 */
export async function studentOf(field: StudentField, model: Model, context: PassContext): Promise<Model> {
  if (field === 'self') return copyModel(model);
  const student =
    'architecture' in field ? buildArchitecture(field, context.seed) : await openModel(field.model, context);
  const obstacle = interfaceObstacle(student, model);
  if (obstacle !== undefined) throw new CompressionError('PASS_PRECONDITION', `distill: ${obstacle}`);
  takeNames(student, model);
  return student;
}

/** What makes a network of the zoo no student of the model, in words; nothing is drawn for it. */
export function architectureObstacle(field: StudentField, model: Model): string | undefined {
  if (field === 'self' || !('architecture' in field)) return undefined;
  return interfaceObstacle(networkWithoutWeights(field), model);
}

/** The model the student learns from: the model so far, or, when that is the student, the job's input. */
export function teacherOf(field: StudentField, model: Model, context: PassContext): Model {
  return field === 'self' ? defined(context.input, 'the input model of the job') : model;
}

async function openModel(id: string, context: PassContext): Promise<Model> {
  if (context.openModel === undefined) throw new CompressionError('INTERNAL', `the model ${id} cannot be opened`);
  return context.openModel(id);
}
