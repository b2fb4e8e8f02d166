import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import type { TrainingBatch } from '../data/training/training-batch.ts';
import type { TrainingSource } from '../data/training/training-source.ts';
import type { Model } from '../onnx/model.ts';
import type { TrainingField } from '../schemas/training.ts';
import type { FinetuneContext } from '../training/finetune.ts';
import type { PassContext } from './pass.ts';

/** The option of a step that trains a model whose normalization may have been folded. */
export const RestoreField = z
  .boolean()
  .default(false)
  .describe(
    'Puts BatchNormalization back behind convolutions with a bias, from statistics measured on the training data: the function stays the same, a model whose normalization was folded trains as before that',
  );

/** Samples that statistics are measured on, where there are as many. */
const STATISTICS_SAMPLES = 4096;

/**
 * Puts BatchNormalization back behind convolutions of the model, from statistics of its training data.
 *
 * @returns how many were put in
 */
export async function restoreNormalization(
  model: Model,
  training: TrainingField,
  context: FinetuneContext,
): Promise<number> {
  const [{ openSource }, { restoreBatchNormalization }] = await Promise.all([
    import('../training/finetune.ts'),
    import('../training/restore-batch-normalization.ts'),
  ]);
  const { runtime, threads, signal } = context;
  context.progress(0, 'measuring statistics of the convolutions');
  const source = await openSource(model, training, context);
  try {
    return await restoreBatchNormalization(model, { runtime, threads, signal, batches: firstSamples(source) });
  } finally {
    await source.close();
  }
}

/**
 * Puts BatchNormalization back behind convolutions of the model, from statistics of the calibration data.
 *
 * @returns how many were put in
 */
export async function restoreFromCalibration(model: Model, context: PassContext): Promise<number> {
  const { restoreBatchNormalization } = await import('../training/restore-batch-normalization.ts');
  const { runtime, threads, signal, data } = context;
  if (data.calibration === undefined) {
    throw new CompressionError(
      'PASS_PRECONDITION',
      'restoreBatchNormalization measures statistics on samples: name data.calibration in the job',
    );
  }
  context.progress(0, 'measuring statistics of the convolutions');
  return restoreBatchNormalization(model, { runtime, threads, signal, batches: data.calibration.batches() });
}

async function* firstSamples(source: TrainingSource): AsyncGenerator<TrainingBatch> {
  let samples = 0;
  for await (const batch of source.epoch(0)) {
    yield batch;
    samples += batch.count;
    if (samples >= STATISTICS_SAMPLES) return;
  }
}
