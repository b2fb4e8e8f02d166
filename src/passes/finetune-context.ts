import { CompressionError } from '../errors.ts';
import type { FinetuneContext } from '../training/finetune.ts';
import type { PassContext } from './pass.ts';

/**
 * What a training run takes of the context of a step that trains.
 *
 * @throws CompressionError INTERNAL where the job has no training data: `needs` of the pass has to ask for it
 */
export function finetuneContext(context: PassContext): FinetuneContext {
  const { openTraining, runtime, threads, seed, signal, checkpoint } = context;
  if (openTraining === undefined) throw new CompressionError('INTERNAL', 'the training data cannot be opened');
  const { calibration, evaluation } = context.data;
  const roles = { ...(calibration && { calibration }), ...(evaluation && { evaluation }) };
  const progress: FinetuneContext['progress'] = (fraction, message) => context.progress(fraction, message);
  return { runtime, threads, seed, signal, checkpoint, openTraining, roles, progress };
}
