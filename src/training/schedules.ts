import { assertNever } from '../errors.ts';

/** Learning rate over the steps of a run. Epochs may be fractions. */
export type ScheduleSettings =
  | { readonly name: 'constant' }
  /** Half a cosine from the base rate to `finalRatio` times it. */
  | { readonly name: 'cosine'; readonly finalRatio: number }
  /** Times `gamma` at each milestone, or every `every` epochs where there are none. */
  | { readonly name: 'step'; readonly milestones: readonly number[]; readonly every: number; readonly gamma: number }
  /** Linear from almost nothing to the base rate, then cosine. */
  | { readonly name: 'linear-warmup-cosine'; readonly warmupEpochs: number; readonly finalRatio: number };

export interface ScheduleRun {
  readonly baseRate: number;
  readonly stepsPerEpoch: number;
  readonly epochs: number;
}

/**
 * The learning rate of a step. It changes with every step, not with every epoch, but for `step`.
 *
 * @param step - counted from 0
 * @see Loshchilov and Hutter, "SGDR", ICLR 2017 (cosine); Goyal et al., "Accurate, Large Minibatch SGD", 2017 (warm-up)
 */
export function learningRateAt(schedule: ScheduleSettings, step: number, run: ScheduleRun): number {
  const { baseRate, stepsPerEpoch, epochs } = run;
  const total = stepsPerEpoch * epochs;
  switch (schedule.name) {
    case 'constant':
      return baseRate;
    case 'cosine':
      return baseRate * cosine(step / total, schedule.finalRatio);
    case 'step': {
      const epoch = step / stepsPerEpoch;
      const passed =
        schedule.milestones.length > 0
          ? schedule.milestones.filter((milestone) => epoch >= milestone).length
          : Math.floor(epoch / schedule.every);
      return baseRate * schedule.gamma ** passed;
    }
    case 'linear-warmup-cosine': {
      const warmup = Math.min(Math.round(schedule.warmupEpochs * stepsPerEpoch), total - 1);
      if (step < warmup) return (baseRate * (step + 1)) / (warmup + 1);
      return baseRate * cosine((step - warmup) / (total - warmup), schedule.finalRatio);
    }
    default:
      return assertNever(schedule, 'schedule');
  }
}

/** From 1 at 0 to `last` at 1. */
function cosine(fraction: number, last: number): number {
  return last + ((1 - last) * (1 + Math.cos(Math.PI * Math.min(1, fraction)))) / 2;
}
