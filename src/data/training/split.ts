import { CompressionError } from '../../errors.ts';
import { hashKey, STREAM } from './keyed-random.ts';

/** Samples by their index in the data set, ascending. */
export interface Split {
  readonly training: Uint32Array;
  readonly validation: Uint32Array;
}

/**
 * Splits samples [from, from + count). Where a sample goes depends on (seed, its index) alone, so a set that grew, or
 * another range of it, keeps every sample on its side. The fraction is met in expectation: the number of validation
 * samples is binomial.
 *
 * @param fraction - share of validation samples, 0 <= fraction < 1
 * @throws CompressionError DATASET_TOO_SMALL when either side would be empty
 */
export function splitSamples(from: number, count: number, fraction: number, seed: number): Split {
  const training = new Uint32Array(count);
  if (fraction === 0) {
    for (let i = 0; i < count; i += 1) training[i] = from + i;
    return { training, validation: new Uint32Array(0) };
  }
  const validation = new Uint32Array(count);
  const threshold = fraction * 2 ** 53;
  let [trained, validated] = [0, 0];
  for (let sample = from; sample < from + count; sample += 1) {
    if (hashKey(seed, STREAM.split, sample) < threshold) {
      validation[validated] = sample;
      validated += 1;
    } else {
      training[trained] = sample;
      trained += 1;
    }
  }
  if (trained === 0 || validated === 0) {
    throw new CompressionError(
      'DATASET_TOO_SMALL',
      `A validation fraction of ${fraction} of ${count} samples leaves ${trained} for training and ${validated} for validation; give more samples, another fraction, or a data set for validation`,
    );
  }
  return { training: training.slice(0, trained), validation: validation.slice(0, validated) };
}
