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
  readonly imagesPerSecond: number;
  readonly validation?: ValidationResult;
}

/** Where a run is; plain data. */
export interface Position {
  /** 0, or 1 after a divergence. */
  readonly attempt: number;
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

export function startPosition(attempt: number): Position {
  return {
    attempt,
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
  return { ...position, curve: [...position.curve] };
}
