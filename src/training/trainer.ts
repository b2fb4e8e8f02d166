import { setImmediate } from 'node:timers/promises';
import type { TrainingBatch } from '../data/training/training-batch.ts';
import type { TrainingSource } from '../data/training/training-source.ts';
import { CompressionError } from '../errors.ts';
import type { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { FeedSource } from '../passes/pass.ts';
import type { Runtime } from '../runtime/session.ts';
import { DivergenceWatch, type Divergence } from './divergence.ts';
import type { OptimizerSettings } from './optimizers/optimizer.ts';
import { optimizerScalars } from './optimizers/optimizers.ts';
import { learningRateAt, type ScheduleSettings } from './schedules.ts';
import { StepRunner } from './step-runner.ts';
import {
  restorePosition,
  startPosition,
  type DivergedAttempt,
  type EpochRecord,
  type Place,
  type Position,
  type TrainingSnapshot,
} from './snapshot.ts';
import type { MaskUpdates } from './weight-masks.ts';
import { trainedValues, withTrained, type TrainedValues } from './trained-values.ts';
import type { TrainingGraph } from './training-graph.ts';
import type { TrainingState } from './training-state.ts';
import { isBetter, validate, type ValidationResult } from './validation.ts';

export interface TrainerSettings {
  readonly epochs: number;
  readonly learningRate: number;
  readonly schedule: ScheduleSettings;
  readonly optimizer: OptimizerSettings;
  /** Batches an update; as the graph was built. */
  readonly accumulate: number;
  /** Decay of the moving average; as the graph was built. */
  readonly averageDecay: number | undefined;
  readonly keep: 'best' | 'last';
  /** Ends the run after this many epochs without a better validation result. */
  readonly patience: number | undefined;
}

/** What a training run is made of and may touch. */
export interface TrainingRun {
  /** The model in whose initializers the values belong; validation runs it. It is not changed. */
  readonly model: Model;
  readonly graph: TrainingGraph;
  readonly source: TrainingSource;
  /** What is validated, a user's form of the model with these values; default: the values in the model. */
  readonly deployed?: ((model: Model, values: TrainedValues) => Model) | undefined;
  /** Absent: the last epoch is the result. */
  readonly validation: FeedSource | undefined;
  readonly settings: TrainerSettings;
  readonly runtime: Runtime;
  readonly threads: number;
  readonly signal: AbortSignal;
  /** What a batch feeds to the graph: the model's inputs and what the loss declared. @param state - as the step will find it */
  readonly feedsOf: (
    batch: TrainingBatch,
    state: TrainingState,
  ) => Readonly<Record<string, NdArray>> | Promise<Readonly<Record<string, NdArray>>>;
  /** Changes the masks of pruned weights on the way; no epoch before they are settled is kept. */
  readonly masks?: MaskUpdates | undefined;
  /** @param fraction - 0..1 of the whole run */
  progress(fraction: number, message: string): void;
  /** Takes a snapshot; called between steps when `snapshotSeconds` have passed since the last. */
  readonly save?: ((snapshot: TrainingSnapshot) => Promise<void>) | undefined;
  readonly snapshotSeconds?: number | undefined;
  /** Where an earlier attempt stopped. */
  readonly resume?: TrainingSnapshot | undefined;
  /** No step more: what `resume` has is the outcome. */
  readonly concluding?: boolean | undefined;
}

export interface TrainingOutcome {
  readonly values: TrainedValues;
  readonly curve: readonly EpochRecord[];
  /** Epoch (from 0) whose weights these are. */
  readonly epoch: number;
  readonly keptBy: 'validation' | 'last';
  readonly validation: ValidationResult | undefined;
  readonly learningRate: number;
  readonly updates: number;
  readonly plannedEpochs: number;
  readonly stoppedEarly: boolean;
  readonly divergences: readonly DivergedAttempt[];
  /** Places where the attempt that gave these values went on from a snapshot. */
  readonly resumedAt: readonly Place[];
  /** Said in the report: a retry at a lower rate. */
  readonly warnings: readonly string[];
}

const RETRY_FACTOR = 0.1;
const SNAPSHOT_SECONDS = 120;
const PROGRESS_MS = 1000;

/**
 * Trains. A run that diverges starts again once, from the beginning, at a tenth of the learning rate. Same run, same
 * bytes: order and augmentation depend on (seed, epoch, step) alone, and a run that goes on from a snapshot ends like one that was
 * never interrupted.
 *
 * @throws CompressionError TRAIN_DIVERGED with an explanation; LIMIT_TIME where it has to conclude and has nothing; what the source and the runtime throw; the signal's reason
 */
export async function train(run: TrainingRun): Promise<TrainingOutcome> {
  const { settings, graph, runtime, threads } = run;
  if (run.concluding === true && run.resume === undefined)
    throw new CompressionError(
      'LIMIT_TIME',
      'training: its end came before its state had been saved once; raise deadlineSeconds, or cancel later',
    );
  const averageDecay = settings.averageDecay;
  const stepSettings = { scalars: optimizerScalars(settings.optimizer), accumulate: settings.accumulate, averageDecay };
  const divergences = [...(run.resume?.position.divergences ?? [])];
  for (let attempt = run.resume?.position.attempt ?? 0; ; attempt += 1) {
    const runner = await StepRunner.create(graph, stepSettings, { runtime, threads });
    try {
      const current = new Attempt(run, runner, attempt, divergences);
      const result = await current.run();
      if (!('reason' in result)) return result;
      if (result.atStart || attempt > 0) throw divergedError(run, result, attempt);
      divergences.push({ ...current.place, learningRate: rateOf(run, attempt), reason: result.reason });
      run.progress(0, `diverged (${result.reason}); starting again at a tenth of the learning rate`);
    } finally {
      await runner.release();
    }
  }
}

/** One run from the first epoch (or a snapshot) to the last. */
class Attempt {
  readonly #run: TrainingRun;
  readonly #runner: StepRunner;
  readonly #rate: number;
  readonly #updatesPerEpoch: number;
  readonly #watch: DivergenceWatch;
  readonly #position: Position;
  #best: { values: TrainedValues; record: EpochRecord } | undefined;
  #lastSave: number;
  #lastProgress = 0;
  /** Until then what was said last stands, also at the end of an epoch. */
  #standsUntil = 0;
  /** For the time that is left: when this process began, and with how many steps done. */
  readonly #began: { readonly at: number; readonly done: number };
  /** For the rate of images: since when, how many. */
  #clock = { since: performance.now(), samples: 0 };

  constructor(run: TrainingRun, runner: StepRunner, attempt: number, divergences: readonly DivergedAttempt[]) {
    const { settings, source } = run;
    this.#run = run;
    this.#runner = runner;
    this.#rate = rateOf(run, attempt);
    this.#updatesPerEpoch = Math.floor(source.info.stepsPerEpoch / settings.accumulate);
    if (this.#updatesPerEpoch === 0) {
      throw new CompressionError(
        'DATASET_TOO_SMALL',
        `${source.info.samples} samples make ${source.info.stepsPerEpoch} batches of ${source.info.batchSize}, and an update takes ${settings.accumulate} of them; lower batchSize or accumulate`,
      );
    }
    const resumed = run.resume?.position.attempt === attempt ? run.resume : undefined;
    this.#position = resumed === undefined ? startPosition(attempt, [...divergences]) : restorePosition(resumed);
    this.#watch = new DivergenceWatch(this.#position.watch);
    if (resumed !== undefined) {
      for (const [name, values] of resumed.state) runner.state.load(name, values);
      const record = this.#position.curve[this.#position.bestEpoch ?? -1];
      if (record !== undefined) this.#best = { values: resumed.best ?? new Map<string, Float32Array>(), record };
    }
    this.#lastSave = performance.now();
    this.#began = { at: this.#lastSave, done: this.#stepsDone };
    if (resumed !== undefined) this.#reportResumed();
  }

  /** The batch at work. */
  get place(): Place {
    const { epoch, step } = this.#position;
    return { epoch, step };
  }

  async run(): Promise<TrainingOutcome | Divergence> {
    const { settings } = this.#run;
    const position = this.#position;
    while (position.epoch < settings.epochs && !this.#outOfPatience() && this.#run.concluding !== true) {
      const diverged = await this.#epoch();
      if (diverged !== undefined) return diverged;
      await this.#finishEpoch();
      position.epoch += 1;
      position.step = 0;
      position.lossSum = 0;
      position.partSums = {};
    }
    return this.#outcome();
  }

  async #epoch(): Promise<Divergence | undefined> {
    const { source, settings, signal, feedsOf, masks } = this.#run;
    const { accumulate, schedule, epochs } = settings;
    const position = this.#position;
    const steps = this.#updatesPerEpoch * accumulate;
    const schedulePlan = { baseRate: this.#rate, stepsPerEpoch: this.#updatesPerEpoch, epochs };
    this.#clock = { since: performance.now(), samples: 0 };
    for await (const batch of source.epoch(position.epoch, position.step)) {
      if (position.step >= steps) break;
      signal.throwIfAborted();
      const learningRate = learningRateAt(schedule, position.updates, schedulePlan);
      const batchInGroup = position.step % accumulate;
      if (batchInGroup === 0) masks?.beforeUpdate(position.updates, this.#runner.state);
      const { loss, parts } = await this.#runner.run(await feedsOf(batch, this.#runner.state), {
        updates: position.updates,
        batchInGroup,
        learningRate,
      });
      const diverged = this.#watch.add(loss);
      if (diverged !== undefined) return diverged;
      position.step += 1;
      position.lossSum += loss;
      position.partSums = added(position.partSums, parts);
      if (batchInGroup === accumulate - 1) position.updates += 1;
      this.#clock.samples += batch.count;
      this.#report(loss, steps);
      await this.#saveWhenDue();
      // Running a session blocks the thread: messages, timers and the cancel signal get their turn here.
      await setImmediate();
    }
    signal.throwIfAborted();
    const broken = brokenValue(this.#runner);
    return broken === undefined ? undefined : { reason: `"${broken}" holds NaN or infinite values`, atStart: false };
  }

  async #finishEpoch(): Promise<void> {
    const { validation, model, runtime, threads, signal, settings, source, masks, deployed = withTrained } = this.#run;
    const position = this.#position;
    const stepSeconds = (performance.now() - this.#clock.since) / 1000;
    const values = trainedValues(this.#runner.state);
    const run = { runtime, threads, signal, batchSize: source.info.batchSize };
    const result = validation === undefined ? undefined : await validate(deployed(model, values), validation, run);
    const last = Math.max(0, position.updates - 1);
    const plan = { baseRate: this.#rate, stepsPerEpoch: this.#updatesPerEpoch, epochs: settings.epochs };
    const record: EpochRecord = {
      epoch: position.epoch,
      loss: position.lossSum / position.step,
      ...partMeans(position),
      learningRate: learningRateAt(settings.schedule, last, plan),
      imagesPerSecond: this.#clock.samples / Math.max(stepSeconds, 1e-6),
      seconds: (performance.now() - this.#clock.since) / 1000,
      ...(result === undefined ? {} : { validation: result }),
    };
    position.curve.push(record);
    const isSettled = masks === undefined || position.updates > masks.settledAfter;
    if (isSettled && result !== undefined && isBetter(result, this.#best?.record.validation)) {
      position.bestEpoch = position.epoch;
      this.#best = { values: settings.keep === 'best' ? values : new Map(), record };
    }
  }

  #outOfPatience(): boolean {
    const { patience } = this.#run.settings;
    const { bestEpoch, epoch } = this.#position;
    return patience !== undefined && bestEpoch !== undefined && epoch - 1 - bestEpoch >= patience;
  }

  #outcome(): TrainingOutcome {
    const { settings } = this.#run;
    const { curve, updates, attempt, divergences, resumedAt } = this.#position;
    const last = curve.at(-1);
    const chosen =
      settings.keep === 'best' && this.#best !== undefined
        ? { ...this.#best, by: 'validation' as const }
        : { values: trainedValues(this.#runner.state), record: last, by: 'last' as const };
    return {
      values: chosen.values,
      curve,
      epoch: chosen.record?.epoch ?? 0,
      keptBy: chosen.by,
      validation: chosen.record?.validation,
      learningRate: this.#rate,
      updates,
      plannedEpochs: settings.epochs,
      divergences,
      resumedAt,
      stoppedEarly: curve.length < settings.epochs,
      warnings:
        attempt === 0
          ? []
          : [
              `Training at learning rate ${settings.learningRate} diverged; this is the second attempt, at ${this.#rate}. Choose a lower learningRate or set clipNorm.`,
            ],
    };
  }

  #report(loss: number, steps: number): void {
    const now = performance.now();
    const { epoch, step } = this.#position;
    if (now < this.#standsUntil || (now - this.#lastProgress < PROGRESS_MS && step < steps)) return;
    this.#lastProgress = now;
    const { epochs } = this.#run.settings;
    const done = this.#stepsDone;
    const secondsLeft = ((epochs * steps - done) * (now - this.#began.at)) / (1000 * (done - this.#began.done));
    const rate = this.#clock.samples / Math.max(1e-3, (now - this.#clock.since) / 1000);
    const last = this.#position.curve.at(-1)?.validation;
    const validated = last === undefined ? '' : `, ${last.metric} ${last.value.toFixed(4)}`;
    this.#run.progress(
      done / (epochs * steps),
      `epoch ${epoch + 1} of ${epochs}, step ${step} of ${steps}, loss ${loss.toFixed(4)}${validated}, ${rate.toFixed(0)} samples/s, ${durationText(secondsLeft)} left`,
    );
  }

  get #stepsDone(): number {
    const { epoch, step } = this.#position;
    return epoch * this.#updatesPerEpoch * this.#run.settings.accumulate + step;
  }

  /** Stands until the usual progress is due, so that whoever reads only now and then sees it too. */
  #reportResumed(): void {
    const { epoch, step, curve } = this.#position;
    const { epochs } = this.#run.settings;
    const done = this.#stepsDone / (epochs * this.#updatesPerEpoch * this.#run.settings.accumulate);
    this.#standsUntil = performance.now() + PROGRESS_MS;
    this.#run.progress(
      Math.min(1, done),
      `resumed in epoch ${epoch + 1} of ${epochs} after step ${step}, with ${curve.length} epochs done before`,
    );
  }

  async #saveWhenDue(): Promise<void> {
    const { save, snapshotSeconds = SNAPSHOT_SECONDS } = this.#run;
    if (save === undefined || performance.now() - this.#lastSave < snapshotSeconds * 1000) return;
    const position = { ...this.#position, curve: [...this.#position.curve], watch: this.#watch.state };
    const best = this.#best?.values;
    await save({ position, state: this.#runner.state.snapshot(), ...(best === undefined ? {} : { best }) });
    this.#lastSave = performance.now();
  }
}

/** `45 s`, `12 min`, `3.5 h`. */
function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function added(
  sums: Readonly<Record<string, number>>,
  parts: ReadonlyMap<string, number>,
): Readonly<Record<string, number>> {
  return Object.fromEntries([...parts].map(([name, value]) => [name, (sums[name] ?? 0) + value]));
}

function partMeans({ partSums, step }: Position): Pick<EpochRecord, 'parts'> {
  const means = Object.entries(partSums).map(([name, sum]): [string, number] => [name, sum / step]);
  return means.length === 0 ? {} : { parts: Object.fromEntries(means) };
}

function rateOf({ settings }: TrainingRun, attempt: number): number {
  return settings.learningRate * RETRY_FACTOR ** attempt;
}

/** Name of a state tensor with a value that is no finite number. */
function brokenValue(runner: StepRunner): string | undefined {
  return runner.state.tensors.find(({ name }) => !runner.state.values(name).every(Number.isFinite))?.name;
}

function divergedError(run: TrainingRun, { reason, atStart }: Divergence, attempt: number): CompressionError {
  return new CompressionError(
    'TRAIN_DIVERGED',
    atStart
      ? `training cannot start: ${reason}. The model itself gives no finite result on this batch; check its weights, the preprocessing and the loss`
      : `training diverged twice, the second time at learning rate ${rateOf(run, attempt)}: ${reason}; choose a lower learningRate, set clipNorm, or check labels and preprocessing`,
  );
}
