import type { NdArray } from '../../onnx/nd-array.ts';

/** One step's worth of samples. */
export interface TrainingBatch {
  /** Per model input, [batchSize, …]. */
  readonly feeds: Readonly<Record<string, NdArray>>;
  /** Class indices int64 [batchSize], or targets float [batchSize, …]; absent when the role has none. */
  readonly labels?: NdArray;
  /**
   * Only with mixup or cutmix, and then in every batch: sample i is `lambda[i]` of its own label and the rest of
   * `labels[i]` here. loss = lambda * loss(output, own) + (1 - lambda) * loss(output, other), per sample, before the mean.
   */
  readonly mixed?: MixedLabels;
  readonly count: number;
  readonly epoch: number;
  readonly step: number;
  /** Index of each sample in the data set. */
  readonly samples: Uint32Array;
}

export interface MixedLabels {
  /** The partners' labels, as `labels` of the batch. */
  readonly labels: NdArray;
  /** float [batchSize], 0..1. */
  readonly lambda: NdArray;
}

/**
 * Class labels as a distribution, float [batchSize, classes]: mixed by lambda, then smoothed, so that cross-entropy with
 * it is the mixed, smoothed loss.
 * @param smoothing - 0..1: 1 - smoothing of the label, the rest spread evenly over all classes
 * @see Szegedy et al., "Rethinking the Inception Architecture", 2015, section 7, for smoothing
 */
export function softTargets(
  batch: Pick<TrainingBatch, 'labels' | 'mixed'>,
  classes: number,
  smoothing = 0,
): NdArray & { readonly type: 'float' } {
  const own = batch.labels?.data;
  if (!(own instanceof BigInt64Array)) throw new TypeError('soft targets are made of class indices');
  const other = batch.mixed?.labels.data;
  const lambda = batch.mixed?.lambda.data;
  const data = new Float32Array(own.length * classes).fill(smoothing / classes);
  for (let i = 0; i < own.length; i += 1) {
    const share = lambda instanceof Float32Array ? (lambda[i] ?? 1) : 1;
    const at = i * classes;
    const first = at + Number(own[i] ?? 0n);
    data[first] = (data[first] ?? 0) + (1 - smoothing) * share;
    if (share < 1 && other instanceof BigInt64Array) {
      const second = at + Number(other[i] ?? 0n);
      data[second] = (data[second] ?? 0) + (1 - smoothing) * (1 - share);
    }
  }
  return { type: 'float', dims: [own.length, classes], data };
}
