import type { Model } from '../../onnx/model.ts';
import type { TrainingField } from '../../schemas/training.ts';
import { copyModel } from '../../training/copy-model.ts';
import { finetune, type FinetuneContext } from '../../training/finetune.ts';
import { runReport } from '../../training/run-report.ts';
import { withTrained } from '../../training/trained-values.ts';
import { isBetter, validate } from '../../training/validation.ts';
import { openAlike, type TeacherField } from '../named-models.ts';
import type { FeedSource, PassContext, PassResult } from '../pass.ts';
import type { Chapters } from './chapters.ts';

export interface TrainedWinner {
  readonly model: Model;
  readonly training: NonNullable<PassResult['training']>;
  readonly warnings: readonly string[];
  /** It was not trained to the end. */
  readonly cutShort: boolean;
}

/** What teaches the winner: the model that is named, else the job's where that is asked for. */
export async function teacherOfWinner(
  { teach, teacher }: { readonly teach: boolean; readonly teacher?: TeacherField },
  model: Model,
  context: PassContext,
): Promise<Model | undefined> {
  if (teacher !== undefined) return openAlike(teacher.model, 'search.architecture: teacher', model, context);
  return teach ? model : undefined;
}

/**
 * The final training of a search within its step. Where the end of the search came on its way, the better of what it had made
 * and what it began with.
 *
 * @param winner.training - undefined: the winner stays as the search found it
 * @throws CompressionError what training throws
 */
export async function trainWinner(
  winner: {
    readonly training: TrainingField | undefined;
    /** What teaches, if anything. */
    readonly teacher: Model | undefined;
    /** As the search found it. */
    readonly found: Model;
    /** What is trained, with the names of the data. */
    readonly start: Model;
    /** For judging a training that was cut short. */
    readonly measuredOn: FeedSource;
    readonly batchSize: number;
  },
  context: FinetuneContext,
  chapters: Chapters,
): Promise<TrainedWinner> {
  const { training, teacher, found, start } = winner;
  if (training === undefined) return { model: found, training: [], warnings: [], cutShort: false };
  const concluding = context.concluding === true;
  if (concluding && !chapters.hasBegun('final')) {
    const warning = 'the final training had not begun when the search was ended: the winner is as the search found it';
    return { model: found, training: [], warnings: [warning], cutShort: true };
  }
  const { outcome, warnings } = await finetune(
    start,
    training,
    { ...context, checkpoint: chapters.checkpointOf('final') },
    teacher === undefined ? {} : { teacher: { model: copyModel(teacher), weight: 0.9, temperature: 4 } },
  );
  const run = runReport('model', outcome);
  const trained = withTrained(start, outcome.values);
  if (!concluding) return { model: trained, training: [run], warnings, cutShort: false };
  const { runtime, threads, signal } = context;
  const measure = { runtime, threads, signal, batchSize: winner.batchSize };
  const before = await validate(found, winner.measuredOn, measure);
  const isOfUse = isBetter(await validate(trained, winner.measuredOn, measure), before);
  const epochs = `${run.epochs.length} of ${run.plannedEpochs} epochs`;
  const what = isOfUse ? 'the winner is as they left it' : 'the winner is as the search found it, which is no worse';
  return {
    model: isOfUse ? trained : found,
    training: [run],
    warnings: [...warnings, `the final training was ended after ${epochs}: ${what}`],
    cutShort: true,
  };
}
