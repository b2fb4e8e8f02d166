import { CompressionError } from '../../errors.ts';
import type { StoredModelField } from '../../schemas/stored-model.ts';
import type { PassContext } from '../pass.ts';
import type { TrialRunner } from '../trials.ts';

/** @throws CompressionError INTERNAL outside of jobs */
export function trialsOf(context: PassContext): TrialRunner {
  if (context.trials === undefined) throw new CompressionError('INTERNAL', 'a search runs as a job only');
  return context.trials;
}

/** The model that the job names, which trials start from: a search comes first in its recipe. */
export function modelOfTrials(context: PassContext): StoredModelField {
  if (context.modelField === undefined) throw new CompressionError('INTERNAL', 'a search runs as a job only');
  return context.modelField;
}
