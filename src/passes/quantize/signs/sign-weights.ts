import type { TrainedValues } from '../../../training/trained-values.ts';
import { channelLayout } from '../weights.ts';
import type { SignMethod } from './options.ts';
import type { SignLayer } from './sign-layers.ts';

/** Weights as planes of bits: `positive` where the weight is above, `negative` (ternary only) where it is below the threshold. */
export interface SignWeights {
  readonly positive: Uint8Array;
  /** Absent: what is not positive is negative. */
  readonly negative?: Uint8Array;
  /** What stands for a positive weight, one a filter or one in all. */
  readonly high: Float32Array;
  /** What stands for a negative weight, without its sign. */
  readonly low: Float32Array;
}

/** Share of the mean magnitude that is a threshold (TWN), and of the largest (TTQ). */
export const TWN_THRESHOLD = 0.7;
export const TTQ_THRESHOLD = 0.05;

/** Names of what TTQ trains for a layer. */
export function ternaryNames({ weight }: SignLayer): { readonly high: string; readonly low: string } {
  return { high: `${weight}.positive`, low: `${weight}.negative` };
}

/**
 * The signs and magnitudes of trained weights, as the training graph makes them. O(n).
 *
 * @param values - what is made signs: weights of the layer's shape
 * @see Rastegari et al., "XNOR-Net", ECCV 2016, eq. 6; Li et al., "Ternary Weight Networks", 2016, eq. 6
 */
export function signWeights(
  layer: SignLayer,
  values: Float32Array,
  method: SignMethod,
  trained: TrainedValues,
): SignWeights {
  switch (method) {
    case 'binaryconnect':
      return binary(values, Float32Array.of(1));
    case 'bwn':
    case 'bireal':
    case 'dorefa':
      return binary(
        values,
        means(layer, values, () => true),
      );
    case 'xnor': {
      const centred = centredOverInputs(layer, values);
      return binary(
        centred,
        means(layer, centred, () => true),
      );
    }
    case 'twn': {
      const thresholds = means(layer, values, () => true).map((mean) => Math.fround(mean * TWN_THRESHOLD));
      const channelOf = channelIndexOf(layer);
      const at = (i: number): number => thresholds[channelOf(i)] ?? 0;
      const scales = means(layer, values, (value, i) => Math.abs(value) > at(i));
      return ternary(values, at, { high: scales, low: scales });
    }
    case 'ttq': {
      const threshold = Math.fround(values.reduce((max, value) => Math.max(max, Math.abs(value)), 0) * TTQ_THRESHOLD);
      const names = ternaryNames(layer);
      const start = means(layer, values, (value) => Math.abs(value) > threshold);
      return ternary(values, () => threshold, {
        high: trained.get(names.high) ?? start,
        low: trained.get(names.low) ?? start,
      });
    }
  }
}

function binary(values: Float32Array, scales: Float32Array): SignWeights {
  return { positive: Uint8Array.from(values, (value) => (value >= 0 ? 1 : 0)), high: scales, low: scales };
}

function ternary(
  values: Float32Array,
  thresholdAt: (index: number) => number,
  { high, low }: Pick<SignWeights, 'high' | 'low'>,
): SignWeights {
  const positive = new Uint8Array(values.length);
  const negative = new Uint8Array(values.length);
  values.forEach((value, i) => {
    positive[i] = value > thresholdAt(i) ? 1 : 0;
    negative[i] = value < -thresholdAt(i) ? 1 : 0;
  });
  return { positive, negative, high, low };
}

/** Which magnitude an element has. */
export function channelIndexOf({ dims, axis }: SignLayer): (index: number) => number {
  const { channels, inner } = channelLayout(dims, axis);
  return (index) => Math.floor(index / inner) % channels;
}

/** Mean magnitudes of the elements that count, one a filter or one in all; 0 where none does. */
function means(
  layer: SignLayer,
  values: Float32Array,
  counts: (value: number, index: number) => boolean,
): Float32Array {
  const { channels } = channelLayout(layer.dims, layer.axis);
  const channelOf = channelIndexOf(layer);
  const [sums, elements] = [new Float64Array(channels), new Float64Array(channels)];
  values.forEach((value, i) => {
    if (!counts(value, i)) return;
    const c = channelOf(i);
    sums[c] = (sums[c] ?? 0) + Math.abs(value);
    elements[c] = (elements[c] ?? 0) + 1;
  });
  return Float32Array.from(sums, (sum, c) => sum / Math.max(elements[c] ?? 0, 1));
}

/** Filters [M, C, k..] minus their mean over C; other weights as they are. */
function centredOverInputs({ dims }: SignLayer, values: Float32Array): Float32Array {
  if (dims.length < 3) return values;
  const [filters = 1, inputs = 1] = dims;
  const taps = values.length / (filters * inputs);
  const centred = new Float32Array(values.length);
  for (let filter = 0; filter < filters; filter += 1) {
    for (let tap = 0; tap < taps; tap += 1) {
      let sum = 0;
      const at = (input: number): number => (filter * inputs + input) * taps + tap;
      for (let input = 0; input < inputs; input += 1) sum += values[at(input)] ?? 0;
      const mean = Math.fround(sum / inputs);
      for (let input = 0; input < inputs; input += 1) centred[at(input)] = (values[at(input)] ?? 0) - mean;
    }
  }
  return centred;
}
