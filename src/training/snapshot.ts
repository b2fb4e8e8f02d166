import type { DivergenceState } from './divergence.ts';
import type { TrainedValues } from './trained-values.ts';
import type { ValidationResult } from './validation.ts';

/** One point of the training curve. */
export interface EpochRecord {
  /** Counted from 0. */
  readonly epoch: number;
  /** Mean over the epoch's batches. */
  readonly loss: number;
  /** The same for each part of the loss, without its weight; absent where there is but one. */
  readonly parts?: Readonly<Record<string, number>>;
  /** At the epoch's last update. */
  readonly learningRate: number;
  /** Over the steps; validation apart. */
  readonly imagesPerSecond: number;
  /** Steps and validation, as far as this process did them. */
  readonly seconds: number;
  readonly validation?: ValidationResult;
}

/** A batch of a run: epoch and step from 0. */
export interface Place {
  readonly epoch: number;
  readonly step: number;
}

/** An attempt that was given up. */
export interface DivergedAttempt extends Place {
  readonly learningRate: number;
  readonly reason: string;
}

/** Where a run is; plain data. */
export interface Position {
  /** 0, or 1 after a divergence. */
  readonly attempt: number;
  /** The attempts before this one. */
  readonly divergences: readonly DivergedAttempt[];
  /** Where this attempt went on from a snapshot. */
  readonly resumedAt: readonly Place[];
  epoch: number;
  /** Batches of this epoch that are done. */
  step: number;
  /** Updates made so far, over all epochs. */
  updates: number;
  /** Of this epoch's batches. */
  lossSum: number;
  partSums: Readonly<Record<string, number>>;
  bestEpoch: number | undefined;
  readonly curve: EpochRecord[];
  readonly watch: DivergenceState;
}

/** Everything a run needs to go on to the same bytes. Order and augmentation follow from the position. */
export interface TrainingSnapshot {
  readonly position: Readonly<Position>;
  readonly state: ReadonlyMap<string, Float32Array>;
  /** The best epoch's values, where they are kept. */
  readonly best?: TrainedValues;
}

export function startPosition(attempt: number, divergences: readonly DivergedAttempt[]): Position {
  return {
    attempt,
    divergences,
    resumedAt: [],
    epoch: 0,
    step: 0,
    updates: 0,
    lossSum: 0,
    partSums: {},
    bestEpoch: undefined,
    curve: [],
    watch: { recent: [], steps: 0, reference: 0 },
  };
}

export function restorePosition({ position }: TrainingSnapshot): Position {
  const { epoch, step, resumedAt, curve } = position;
  return { ...position, curve: [...curve], resumedAt: [...resumedAt, { epoch, step }] };
}
