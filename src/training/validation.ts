import { CompressionError } from '../errors.ts';
import type { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { FeedSource } from '../passes/pass.ts';
import type { Runtime } from '../runtime/session.ts';

/** A number to compare epochs by; larger is better. */
export interface ValidationResult {
  readonly metric: 'top1' | 'rmse';
  readonly value: number;
  readonly samples: number;
}

/** True when `value` of the metric is better than `than`. */
export function isBetter(result: ValidationResult, than: ValidationResult | undefined): boolean {
  if (!Number.isFinite(result.value)) return false;
  if (than === undefined) return true;
  return result.metric === 'rmse' ? result.value < than.value : result.value > than.value;
}

export interface ValidationRun {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly batchSize: number;
}

/**
 * Runs the model over labelled samples, as a user of the result would: in inference mode, as ONNX
 * Runtime optimizes it. Class indices give the top-1 accuracy of the first output, other labels its root mean square error.
 *
 * @throws CompressionError DATASET_LABELS when there are no labels, or they do not fit the output
 */
export async function validate(model: Model, source: FeedSource, run: ValidationRun): Promise<ValidationResult> {
  const session = await run.runtime.createSession(model, { threads: run.threads });
  const sums = { samples: 0, correct: 0, elements: 0, squares: 0 };
  let isClass = true;
  try {
    const output = session.outputs[0]?.name ?? '';
    const fixed = session.inputs[0]?.shape[0];
    for await (const batch of source.batches(typeof fixed === 'number' ? fixed : run.batchSize)) {
      run.signal.throwIfAborted();
      const scores = (await session.run(batch.feeds, [output])).get(output);
      const { labels } = batch;
      if (scores === undefined || labels === undefined) {
        throw new CompressionError(
          'DATASET_LABELS',
          'validation needs labels and the data set has none; name the array in data.<role>.labels, or set validation to { "fraction": 0 }',
        );
      }
      isClass = labels.data instanceof BigInt64Array && scores.dims.length >= 2 && (scores.dims[1] ?? 1) > 1;
      if (isClass) sums.correct += countCorrect(scores, labels, batch.count);
      else addSquares(sums, scores, labels, batch.count);
      sums.samples += batch.count;
    }
  } finally {
    await session.release();
  }
  return isClass
    ? { metric: 'top1', value: sums.correct / sums.samples, samples: sums.samples }
    : { metric: 'rmse', value: Math.sqrt(sums.squares / sums.elements), samples: sums.samples };
}

/** Samples whose largest score is at their label, positions behind the class axis averaged. Scores [batch, classes, ...]. */
function countCorrect(scores: NdArray, labels: NdArray, count: number): number {
  const [, classes = 1, ...rest] = scores.dims;
  const positions = rest.reduce((product, size) => product * size, 1);
  let correct = 0;
  for (let sample = 0; sample < count; sample += 1) {
    for (let position = 0; position < positions; position += 1) {
      const at = (label: number): number => Number(scores.data[(sample * classes + label) * positions + position]);
      let best = 0;
      for (let label = 1; label < classes; label += 1) if (at(label) > at(best)) best = label;
      if (best === Number(labels.data[sample * positions + position])) correct += 1 / positions;
    }
  }
  return correct;
}

function addSquares(
  sums: { elements: number; squares: number },
  scores: NdArray,
  labels: NdArray,
  count: number,
): void {
  const perSample = scores.data.length / (scores.dims[0] ?? 1);
  const length = count * perSample;
  if (labels.data.length < length) {
    throw new CompressionError(
      'DATASET_LABELS',
      `the model gives ${perSample} values a sample, the labels are [${labels.dims.join(', ')}]; give targets in the shape of the output`,
    );
  }
  for (let i = 0; i < length; i += 1) sums.squares += (Number(scores.data[i]) - Number(labels.data[i])) ** 2;
  sums.elements += length;
}
