import type { Model } from '../../../src/onnx/model.ts';
import type { NdArray } from '../../../src/onnx/nd-array.ts';
import type { FeedSource, PassContext } from '../../../src/passes/pass.ts';
import { contextOf, noise, outputOf, source } from './helpers.ts';

/** Input "x" of the networks here. */
export const LABELLED_DIMS = [1, 4, 6, 6];

const samples = Array.from({ length: 60 }, (_, i): NdArray => ({
  type: 'float',
  dims: LABELLED_DIMS,
  data: noise(144, 900 + i),
}));

/** The class that a model gives each sample. */
export async function answersOf(model: Model): Promise<number[]> {
  const answers: number[] = [];
  for (const x of samples) {
    const scores = await outputOf(model, { x });
    answers.push(scores.indexOf(scores.reduce((a, b) => Math.max(a, b))));
  }
  return answers;
}

/** The float model's own answers are the labels: its accuracy is 1, and what is lost is what quantizing costs. */
export async function labelledBy(float: Model): Promise<{ context: PassContext; labels: number[] }> {
  const labels = await answersOf(float);
  const evaluation: FeedSource = {
    samples: samples.length,
    async *batches() {
      for (const [i, x] of samples.entries()) {
        const data = BigInt64Array.of(BigInt(labels[i] ?? 0));
        yield await Promise.resolve({ feeds: { x }, labels: { type: 'int64' as const, dims: [1], data }, count: 1 });
      }
    },
  };
  const calibrated = contextOf(source('x', LABELLED_DIMS));
  return { context: { ...calibrated, data: { ...calibrated.data, evaluation } }, labels };
}
