import { CompressionError, defined } from '../../../errors.ts';
import type { Quantizer, QuantizerKind } from '../../../training/quantizers/quantizer.ts';
import { isPruned } from '../../../training/weight-masks.ts';
import type { HistogramObservation, ObservationPoint, Observations } from '../../observe.ts';
import { affineParams } from '../affine.ts';
import { mseInterval, type Interval } from '../thresholds.ts';
import { channelLayout, type ChannelLayout, type WeightRange } from '../weights.ts';
import type { AwareLayer, AwarePlan } from './aware-plan.ts';
import type { AwareOptions } from './options.ts';

/** Every quantizer of a plan, with the values it starts from. */
export interface StartQuantizers {
  /** By root value. */
  readonly roots: ReadonlyMap<string, Quantizer>;
  /** By `edgeKey`. */
  readonly edges: ReadonlyMap<string, Quantizer>;
  /** By layer. */
  readonly weights: ReadonlyMap<string, Quantizer>;
}

const HISTOGRAM = { kind: 'histogram', bins: 2048 } as const;

/** One quantizer a value and width, whoever reads it. */
export function edgeKey({ value, bits }: { readonly value: string; readonly bits: number }): string {
  return `${value}.${bits}bit`;
}

/** What calibration has to tell: a histogram of each value that is quantized. */
export function pointsOfAware({ plan, rootBits, edges, view }: AwarePlan): ObservationPoint[] {
  const isFixed = (root: string): boolean => view.producerOf(root)?.opType === 'Softmax';
  const values = [
    ...[...rootBits.keys()].filter((root) => !isFixed(root)).map((root) => plan.rangeValueOf(root)),
    ...edges.map(({ value }) => value),
  ];
  return [...new Set(values)].map((tensor) => ({ tensor, statistic: HISTOGRAM }));
}

/**
 * Activations start at the range with the least squared error of the calibration data (8 bits: all of it), weights at what their
 * method starts with.
 *
 * @param values - by layer, what its weights are quantized from
 * @param weightRange - what int8 kernels ask of 8-bit weights beside 8-bit activations
 */
export function startQuantizers(
  { plan, view, rootBits, edges, layers }: AwarePlan,
  options: AwareOptions,
  given: {
    readonly observations: Observations | undefined;
    readonly weightRange: WeightRange;
    readonly values: ReadonlyMap<string, Float32Array>;
  },
): StartQuantizers {
  const activation = (name: string, value: string, bits: number): Quantizer => {
    const range = [0, 2 ** bits - 1] as const;
    const observation = given.observations?.get({ tensor: value, statistic: HISTOGRAM });
    if (observation?.kind !== 'histogram') throw neverMade(value);
    const { min, max } = intervalOf(observation, bits);
    const { scale, zeroPoint } = affineParams(min, max, range, false);
    return {
      name: `${name}.quantizer`,
      kind: activationKind(options),
      range,
      zeroPoint,
      scales: Float32Array.of(scale),
      dims: [],
    };
  };
  const roots = new Map<string, Quantizer>();
  for (const [root, bits] of rootBits) {
    roots.set(
      root,
      view.producerOf(root)?.opType === 'Softmax'
        ? softmaxQuantizer(root)
        : activation(root, plan.rangeValueOf(root), bits),
    );
  }
  const shared = new Map<string, Quantizer>();
  const weights = new Map<string, Quantizer>();
  for (const layer of layers) {
    const { name } = defined(layer.unit.weight, 'weight of the layer').tensor;
    const known = shared.get(name);
    const quantizer =
      known ??
      weightQuantizer(layer, options, {
        values: defined(given.values.get(layer.key), `weights of ${layer.key}`),
        range: weightCodes(layer, options, given.weightRange),
      });
    shared.set(name, quantizer);
    weights.set(layer.key, quantizer);
  }
  return {
    roots,
    edges: new Map(edges.map((edge) => [edgeKey(edge), activation(edgeKey(edge), edge.value, edge.bits)])),
    weights,
  };
}

function intervalOf(observation: HistogramObservation, bits: number): Interval {
  if (bits === 8) return { min: observation.min, max: observation.max };
  return mseInterval(observation, [0, 2 ** bits - 1], false);
}

function activationKind({ method }: AwareOptions): QuantizerKind {
  return method === 'ste' ? 'fixed' : method;
}

/** Softmax gives [0, 1] whatever the data; its int8 kernel takes scale 1/256 only. */
function softmaxQuantizer(name: string): Quantizer {
  return {
    name: `${name}.quantizer`,
    kind: 'fixed',
    range: [0, 255],
    zeroPoint: 0,
    scales: Float32Array.of(1 / 256),
    dims: [],
  };
}

function neverMade(value: string): CompressionError {
  return new CompressionError(
    'MODEL_RUN',
    `"${value}" was never made on the calibration data, so its range is not known; exclude its node`,
  );
}

/** Codes of a weight. A scale by the largest magnitude needs no code without its opposite. */
function weightCodes(
  { weightBits, activationBits }: AwareLayer,
  { method }: AwareOptions,
  weightRange: WeightRange,
): readonly [number, number] {
  const high = 2 ** (weightBits - 1) - 1;
  // Two products of 8-bit codes must not pass int16: 255 * (64 + 64) = 32640.
  if (weightBits === 8 && activationBits === 8 && weightRange === 'pair-safe') return [-64, 64];
  return [method === 'ste' ? -high : -high - 1, high];
}

/**
 * A weight's quantizer. LSQ starts at 2 mean|w| / sqrt(largest code), LSQ+ at three standard deviations around the mean, balanced
 * levels at the step of least error for normal values.
 *
 * @see Esser et al. 2020, section 2.1; Bhalgat et al. 2020, section 3.3
 */
function weightQuantizer(
  { key, unit }: AwareLayer,
  options: AwareOptions,
  { values, range }: { readonly values: Float32Array; readonly range: readonly [number, number] },
): Quantizer {
  const weight = defined(unit.weight, 'weight of the layer');
  const layout = channelLayout(weight.tensor.dims, weight.axis);
  const { method } = options;
  const offset = isBalanced(values, range, options) ? 0.5 : 0;
  const scales = startScales(values, layout, { method, offset, range });
  const dims =
    weight.axis === undefined ? [] : weight.tensor.dims.map((size, axis) => (axis === weight.axis ? size : 1));
  const kind = method === 'ste' ? 'max' : 'lsq';
  return { name: `${key}.weight.quantizer`, kind, range, zeroPoint: 0, offset, scales, dims };
}

/** Whether 2-bit weights lie half a step beside their codes. There is no zero then, so pruned weights that keep theirs do not. */
function isBalanced(
  values: Float32Array,
  [low]: readonly [number, number],
  { method, levels, training }: AwareOptions,
): boolean {
  return levels === 'balanced' && method !== 'ste' && low === -2 && !(training.keepZeros && isPruned(values));
}

/** In deviations: the step at which four balanced levels have the least squared error on normal values (Max 1960, table I). */
const BALANCED_STEP = 0.9957;

function startScales(
  values: Float32Array,
  layout: ChannelLayout,
  {
    method,
    offset,
    range: [, high],
  }: {
    readonly method: AwareOptions['method'];
    readonly offset: number;
    readonly range: readonly [number, number];
  },
): Float32Array {
  const { channels } = layout;
  const [sums, squares, magnitudes] = [0, 1, 2].map(() => new Float64Array(channels));
  const channelOf = channelIndex(layout);
  values.forEach((value, i) => {
    const c = channelOf(i);
    if (sums === undefined || squares === undefined || magnitudes === undefined) return;
    sums[c] = (sums[c] ?? 0) + value;
    squares[c] = (squares[c] ?? 0) + value * value;
    magnitudes[c] = (magnitudes[c] ?? 0) + Math.abs(value);
  });
  const count = values.length / channels;
  return Float32Array.from({ length: channels }, (_, c) => {
    const mean = (sums?.[c] ?? 0) / count;
    const deviation = Math.sqrt(Math.max(0, (squares?.[c] ?? 0) / count - mean * mean));
    const scale = ((): number => {
      if (offset !== 0) return BALANCED_STEP * deviation;
      if (method === 'lsq+') return (Math.abs(mean) + 3 * deviation) / (high + 1);
      return (2 * (magnitudes?.[c] ?? 0)) / count / Math.sqrt(high);
    })();
    // A channel of zeros stays one, at any scale.
    return scale > 0 ? scale : 1;
  });
}

/** Which channel an element lies in. */
export function channelIndex({ channels, inner }: ChannelLayout): (index: number) => number {
  return (index) => Math.floor(index / inner) % channels;
}
