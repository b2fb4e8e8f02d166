import { CompressionError } from '../../errors.ts';
import type { ObservationPoint, Observations, Statistic } from '../observe.ts';
import { affineParams, powerOfTwoParams, quantizeValue, type QuantParams } from './affine.ts';
import type { GraphView } from './graph-view.ts';
import type { NarrowerQuantizer, QuantPlan } from './plan.ts';
import { QUANT_RANGE, rangeOf, type ActivationType, type QuantRange } from './quant-type.ts';
import { entropyInterval, mseInterval, percentileInterval, type Interval } from './thresholds.ts';
import type { CodesUnit } from './units.ts';

export const METHODS = ['minmax', 'moving-average', 'percentile', 'entropy', 'mse'] as const;
export type Method = (typeof METHODS)[number];

export interface ActivationSettings {
  readonly symmetric: boolean;
  readonly method: Method;
  /** Percent of the values kept by method `percentile`. */
  readonly percentile: number;
  readonly powerOfTwo: boolean;
  /** Ranges given by the recipe, by value name. */
  readonly overrides: Readonly<Record<string, Interval>>;
}

/** Chosen for one root value, or for a narrower quantizer behind it. */
export interface ActivationParams extends QuantParams {
  readonly type: ActivationType;
  readonly range: QuantRange;
  readonly interval: Interval;
  /** Share of the calibration values beyond the interval, where a histogram tells it. */
  readonly clippedShare?: number;
}

/** Moving average of torch and onnxruntime: a hundred batches to follow a change. */
const AVERAGING = 0.01;
const HISTOGRAM_BINS = 2048;

function statisticOf(method: Method): Statistic {
  switch (method) {
    case 'minmax':
      return { kind: 'minmax' };
    case 'moving-average':
      return { kind: 'moving-average', constant: AVERAGING };
    case 'percentile':
    case 'entropy':
    case 'mse':
      return { kind: 'histogram', bins: HISTOGRAM_BINS };
  }
}

/** The points a plan wants observed, each value once; those with a given or fixed range are left out. */
export function pointsOf(plan: QuantPlan, view: GraphView, settings: ActivationSettings): ObservationPoint[] {
  const points: ObservationPoint[] = [];
  for (const root of new Set(plan.roots.values())) {
    if (!isObserved(root, plan, view, settings)) continue;
    points.push({ tensor: plan.rangeValueOf(root), statistic: statisticOf(settings.method) });
  }
  return points;
}

/** Whether the range follows from the calibration data: neither the recipe nor the operator gives it. */
export function hasObservedRange(
  quantizer: string,
  plan: QuantPlan,
  view: GraphView,
  settings: ActivationSettings,
): boolean {
  return isObserved(plan.narrower.get(quantizer)?.root ?? quantizer, plan, view, settings);
}

function isObserved(root: string, plan: QuantPlan, view: GraphView, settings: ActivationSettings): boolean {
  return givenRange(root, plan.rangeValueOf(root), settings) === undefined && fixedRange(root, view) === undefined;
}

/**
 * Parameters of every root value, and of the quantizers of a narrower type.
 *
 * @throws CompressionError MODEL_RUN when a value was never made while calibrating
 */
export function activationParams(
  plan: QuantPlan,
  view: GraphView,
  settings: ActivationSettings,
  observations: Observations | undefined,
): Map<string, ActivationParams> {
  const params = new Map<string, ActivationParams>();
  const add = (name: string, { root, type }: NarrowerQuantizer): void => {
    const value = plan.rangeValueOf(root);
    const fixed = fixedRange(root, view);
    if (fixed !== undefined) {
      params.set(name, softmaxParams(type, fixed));
      return;
    }
    const found = givenRange(root, value, settings) ?? observedRange({ value, type }, settings, observations);
    const range = rangeOf(type, settings.symmetric);
    const choose = settings.powerOfTwo ? powerOfTwoParams : affineParams;
    const chosen = choose(found.interval.min, found.interval.max, range, settings.symmetric);
    params.set(name, { ...chosen, type, range: QUANT_RANGE[type], ...found });
  };
  for (const root of new Set(plan.roots.values())) add(root, { root, type: plan.typeOf(root) });
  for (const [name, quantizer] of plan.narrower) add(name, quantizer);
  return params;
}

type FoundRange = Pick<ActivationParams, 'interval' | 'clippedShare'>;

function givenRange(root: string, value: string, { overrides }: ActivationSettings): FoundRange | undefined {
  const name = [value, root].find((candidate) => Object.hasOwn(overrides, candidate));
  const interval = name === undefined ? undefined : overrides[name];
  return interval === undefined ? undefined : { interval };
}

/** Softmax gives [0, 1] whatever the data; its int8 kernel takes scale 1/256 only. */
function fixedRange(root: string, view: GraphView): Interval | undefined {
  return view.producerOf(root)?.opType === 'Softmax' ? { min: 0, max: 1 } : undefined;
}

function softmaxParams(type: ActivationType, interval: Interval): ActivationParams {
  const range = QUANT_RANGE[type];
  if (type === 'uint8' || type === 'int8') return { scale: 1 / 256, zeroPoint: range[0], type, range, interval };
  return { ...affineParams(0, 1, range, false), type, range, interval };
}

function observedRange(
  { value, type }: { readonly value: string; readonly type: ActivationType },
  settings: ActivationSettings,
  observations: Observations | undefined,
): FoundRange {
  const observation = observations?.get({ tensor: value, statistic: statisticOf(settings.method) });
  if (observation?.kind === 'range') return { interval: { min: observation.min, max: observation.max } };
  if (observation?.kind !== 'histogram') {
    throw new CompressionError(
      'MODEL_RUN',
      `"${value}" was never made on the calibration data, so its range is not known; exclude its node`,
    );
  }
  const interval = thresholdOf(observation, type, settings);
  let clipped = 0;
  let total = 0;
  observation.counts.forEach((count, index) => {
    const centre = (observation.firstBin + index + 0.5) * observation.binWidth;
    total += count;
    if (centre < interval.min || centre > interval.max) clipped += count;
  });
  return { interval, clippedShare: total === 0 ? 0 : clipped / total };
}

function thresholdOf(
  observation: Parameters<typeof entropyInterval>[0],
  type: ActivationType,
  settings: ActivationSettings,
): Interval {
  switch (settings.method) {
    case 'percentile':
      return percentileInterval(observation, settings.percentile, settings.symmetric);
    case 'entropy':
      return entropyInterval(observation);
    case 'mse':
      return mseInterval(observation, rangeOf(type, settings.symmetric), settings.symmetric);
    case 'minmax':
    case 'moving-average':
      return { min: observation.min, max: observation.max };
  }
}

/**
 * True when the quantizer's own saturation does all that the clip does: quantizing keeps order, so that is so exactly when
 * the clip's edges fall on (or beyond) the outermost codes. A Clip with min above 0 is not such a one, because the range
 * was widened to contain 0; nor is a Relu on a symmetric range.
 */
export function quantizerClips(clip: NonNullable<CodesUnit['clip']>, params: ActivationParams): boolean {
  const [low, high] = clipCodes(clip, params);
  return low === params.range[0] && high === params.range[1];
}

/** The clip's edges as codes. */
export function clipCodes(clip: NonNullable<CodesUnit['clip']>, params: ActivationParams): readonly [number, number] {
  return [quantizeValue(clip.min, params, params.range), quantizeValue(clip.max, params, params.range)];
}
