import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import type { Model } from '../onnx/model.ts';
import { ModelId } from '../schemas/common.ts';
import type { PassContext, ReferencedModel } from './pass.ts';
import { interfaceObstacle, takeNames } from './replace-model.ts';

/** An uploaded model that teaches in the place of the one that would. */
export const TeacherField = z
  .strictObject({ model: ModelId })
  .optional()
  .describe('Another uploaded model that teaches instead, a larger one of the same inputs and outputs, say');
export type TeacherField = z.output<typeof TeacherField>;

/** A model that an option names, for `models` of a pass. @param path - of the option, whose last part says what the model is for */
export function namedModel(
  field: { readonly model: string } | undefined,
  path: readonly [...PropertyKey[], ReferencedModel['as']],
): readonly ReferencedModel[] {
  const as = path.at(-1) === 'student' ? 'student' : 'teacher';
  return field === undefined ? [] : [{ id: field.model, path: [...path, 'model'], as }];
}

/**
 * @param what - for messages
 * @throws CompressionError PASS_PRECONDITION where it takes or gives something else than the model
 */
export async function openAlike(id: string, what: string, model: Model, context: PassContext): Promise<Model> {
  if (context.openModel === undefined) throw new CompressionError('INTERNAL', `the model ${id} cannot be opened`);
  return alike(await context.openModel(id), what, model);
}

/** A network with the names of the model. @throws CompressionError PASS_PRECONDITION */
export function alike(network: Model, what: string, model: Model): Model {
  const obstacle = interfaceObstacle(network, model);
  if (obstacle !== undefined) throw new CompressionError('PASS_PRECONDITION', `${what}: ${obstacle}`);
  takeNames(network, model);
  return network;
}
