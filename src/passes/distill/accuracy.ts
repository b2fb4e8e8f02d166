import { mcNemar, pairedDifferenceInterval } from '../../evaluation/statistics.ts';
import type { Model } from '../../onnx/model.ts';
import type { NdArray } from '../../onnx/nd-array.ts';
import { validate, type ValidationResult, type ValidationRun } from '../../training/validation.ts';
import type { FeedSource } from '../pass.ts';

export interface Measured {
  readonly result: ValidationResult;
  /** 1 for each sample whose class the model got right, in the order of the source; undefined where there are no classes. */
  readonly correct: Uint8Array | undefined;
}

/**
 * How good a model is on labelled samples, in inference mode. One pass over classes; other tasks are left to `validate`.
 *
 * @throws CompressionError DATASET_LABELS, MODEL_RUN
 */
export async function measure(model: Model, source: FeedSource, run: ValidationRun): Promise<Measured> {
  const correct = await correctSamples(model, source, run);
  if (correct === undefined) return { result: await validate(model, source, run), correct };
  let hits = 0;
  for (const hit of correct) hits += hit;
  return { result: { metric: 'top1', value: hits / correct.length, samples: correct.length }, correct };
}

async function correctSamples(model: Model, source: FeedSource, run: ValidationRun): Promise<Uint8Array | undefined> {
  const session = await run.runtime.createSession(model, { threads: run.threads });
  try {
    const output = session.outputs[0]?.name ?? '';
    const fixed = session.inputs[0]?.shape[0];
    const correct: number[] = [];
    for await (const { feeds, labels, count } of source.batches(typeof fixed === 'number' ? fixed : run.batchSize)) {
      run.signal.throwIfAborted();
      const scores = (await session.run(feeds, [output])).get(output);
      if (scores?.dims.length !== 2 || (scores.dims[1] ?? 0) < 2) return undefined;
      if (!(labels?.data instanceof BigInt64Array) || labels.data.length < count) return undefined;
      for (let sample = 0; sample < count; sample += 1) {
        correct.push(classOf(scores, sample) === Number(labels.data[sample]) ? 1 : 0);
      }
    }
    return correct.length === 0 ? undefined : Uint8Array.from(correct);
  } finally {
    await session.release();
  }
}

function classOf({ dims, data }: NdArray, sample: number): number {
  const [, classes = 1] = dims;
  const start = sample * classes;
  let best = 0;
  for (let label = 1; label < classes; label += 1) {
    if (Number(data[start + label]) > Number(data[start + best])) best = label;
  }
  return best;
}

/** What teaching brought: accuracy of the taught student minus that of its twin, on the same samples. */
export interface Effect {
  readonly difference: number;
  /** 95 %, paired. Over the samples only: another seed gives another difference, by a few tenths of a point. */
  readonly confidenceInterval: readonly [number, number];
  readonly pValue: number;
  readonly samples: number;
  readonly verdict: 'helped' | 'hurt' | 'inconclusive';
}

/** @param alone - of the twin that was trained without the teacher, sample by sample as `taught` */
export function effectOf(taught: Uint8Array, alone: Uint8Array): Effect {
  let [onlyTaught, onlyAlone] = [0, 0];
  for (let i = 0; i < taught.length; i += 1) {
    if (taught[i] === 1 && alone[i] === 0) onlyTaught += 1;
    if (taught[i] === 0 && alone[i] === 1) onlyAlone += 1;
  }
  const [low, high] = pairedDifferenceInterval(onlyAlone, onlyTaught, taught.length);
  return {
    difference: (onlyTaught - onlyAlone) / taught.length,
    confidenceInterval: [low, high],
    pValue: mcNemar(onlyAlone, onlyTaught).pValue,
    samples: taught.length,
    verdict: low > 0 ? 'helped' : high < 0 ? 'hurt' : 'inconclusive',
  };
}
