/**
 * What a pass wants to know of a value while real data runs through the model. The pass manager collects the points of
 * neighbouring steps, runs the data once, and hands every step the answers to its own points.
 */
export type Statistic =
  /** Smallest and largest value over all samples. */
  | { readonly kind: 'minmax' }
  /**
   * Smallest and largest value of each batch, smoothed: r += constant * (batch - r), in data order, the first batch as
   * it is. `constant` in (0, 1].
   */
  | { readonly kind: 'moving-average'; readonly constant: number }
  /** Counts over bins of equal width that start at zero. At least `bins` of them cover the larger of |min| and max. */
  | { readonly kind: 'histogram'; readonly bins: number }
  /** Arithmetic mean over every axis but `axis`; -1 is the last. */
  | { readonly kind: 'channel-mean'; readonly axis: number }
  /** Smallest and largest value over every axis but `axis`; -1 is the last. */
  | { readonly kind: 'channel-range'; readonly axis: number };

export interface ObservationPoint {
  /** Name of a graph input or of a value some node of the main graph makes; float tensors only. */
  readonly tensor: string;
  readonly statistic: Statistic;
}

export interface RangeObservation {
  readonly kind: 'range';
  readonly min: number;
  readonly max: number;
}

export interface HistogramObservation {
  readonly kind: 'histogram';
  readonly min: number;
  readonly max: number;
  /** A power of two: bin i counts values in [(firstBin + i) * binWidth, (firstBin + i + 1) * binWidth). */
  readonly binWidth: number;
  /** Index of `counts[0]`; negative when there are values below zero. */
  readonly firstBin: number;
  readonly counts: Float64Array;
}

export interface ChannelMeanObservation {
  readonly kind: 'channel-mean';
  readonly mean: Float64Array;
}

export interface ChannelRangeObservation {
  readonly kind: 'channel-range';
  readonly min: Float64Array;
  readonly max: Float64Array;
}

export type Observation = RangeObservation | HistogramObservation | ChannelMeanObservation | ChannelRangeObservation;

/** The answers. A point whose value was never made (a branch not taken) or was empty has no answer. */
export interface Observations {
  /** Samples that ran through the model. */
  readonly samples: number;
  get(point: ObservationPoint): Observation | undefined;
}

/** Equal points have equal keys. */
export function pointKey(point: ObservationPoint): string {
  const { tensor, statistic } = point;
  switch (statistic.kind) {
    case 'minmax':
      return `minmax ${tensor}`;
    case 'moving-average':
      return `moving-average ${statistic.constant} ${tensor}`;
    case 'histogram':
      return `histogram ${statistic.bins} ${tensor}`;
    case 'channel-mean':
    case 'channel-range':
      return `${statistic.kind} ${statistic.axis} ${tensor}`;
  }
}
