import { z } from 'zod';
import type { TrainingBatch } from '../../../data/training/training-batch.ts';
import type { TrainingSource } from '../../../data/training/training-source.ts';
import { decodeModel } from '../../../onnx/codec/decode.ts';
import { encodeModel } from '../../../onnx/codec/encode.ts';
import type { Model } from '../../../onnx/model.ts';
import { TrainingRunReport } from '../../../schemas/training-report.ts';
import {
  labelFeeds,
  labelKind,
  trainerSettings,
  trainingGraph,
  type FinetuneContext,
} from '../../../training/finetune.ts';
import { taskLoss } from '../../../training/losses/task-loss.ts';
import { runReport } from '../../../training/run-report.ts';
import { decodeSnapshot, encodeSnapshot } from '../../../training/snapshot-codec.ts';
import type { TrainingSnapshot } from '../../../training/snapshot.ts';
import { withTrained } from '../../../training/trained-values.ts';
import { train } from '../../../training/trainer.ts';
import type { TrainingState } from '../../../training/training-state.ts';
import type { ArchitectureOptions, DartsField } from '../architecture-options.ts';
import type { Chapters } from '../chapters.ts';
import type { FeedSource, StepCheckpoint } from '../../pass.ts';
import type { MixedNetwork } from './mixed-network.ts';
import { drawPenalties, feedInitializers, PENALTIES, Strengths, STRENGTHS } from './strengths.ts';

export interface MixedTraining {
  /** Its input named as the data are. */
  readonly mixed: MixedNetwork;
  readonly training: ArchitectureOptions['training'];
  readonly settings: z.output<typeof DartsField>;
  readonly source: TrainingSource;
  readonly first: TrainingBatch;
  readonly validation: FeedSource;
}

export interface TrainedMixture {
  readonly model: Model;
  /** By place, of the operations: they add up to 1. */
  readonly probabilities: readonly (readonly number[])[];
  readonly run: TrainingRunReport;
  /** In words what was not trained, where the search has to conclude before. */
  readonly notDone: readonly string[];
}

const Ended = z.object({ run: TrainingRunReport, probabilities: z.array(z.array(z.number())) });

/**
 * Trains the weights of all operations on training data and their strengths on validation data, in turns. When concluding,
 * both are those that an earlier attempt had saved last.
 *
 * @throws CompressionError DATASET_*; TRAIN_DIVERGED; TRAIN_NO_GRADIENT; LIMIT_TIME when concluding without any saved
 */
export async function trainMixed(
  plan: MixedTraining,
  context: FinetuneContext,
  chapters: Chapters,
): Promise<TrainedMixture> {
  const ended = chapters.get('mixed');
  if (ended !== undefined) return { model: decodeModel(ended.bytes), ...Ended.parse(ended.data), notDone: [] };
  const trained = await runMixed(plan, context, chapters.checkpointOf('mixed'));
  // What was cut short is not over: another attempt that concludes finds it as this one did.
  if (context.concluding === true) return trained;
  const { run, probabilities } = trained;
  await chapters.finish('mixed', { run, probabilities }, encodeModel(trained.model));
  return trained;
}

/** What the strengths' state is called in a snapshot. */
const STRENGTH_STATE = 'strengths/';

async function runMixed(
  { mixed, training, settings, source, first, validation }: MixedTraining,
  context: FinetuneContext,
  checkpoint: StepCheckpoint,
): Promise<TrainedMixture> {
  const { seed, runtime, threads, signal } = context;
  const { places } = mixed;
  const graph = trainingGraph(
    mixed.model,
    { ...training, frozen: [STRENGTHS, PENALTIES] },
    {
      inputShapes: Object.fromEntries(Object.entries(first.feeds).map(([name, { dims }]) => [name, dims])),
      loss: taskLoss({ ...training, name: training.loss }, labelKind(first)),
      seed,
    },
  );
  feedInitializers(
    graph,
    places.flatMap(({ alpha, penalty }) => [alpha, penalty]),
  );
  const weights = graph.state.filter(({ kind, isModel }) => kind === 'parameter' && isModel).map(({ name }) => name);
  const strengths = await Strengths.create(
    mixed,
    {
      learningRate: settings.strengthLearningRate,
      optimizer: { name: 'adam', beta1: 0.5, beta2: 0.999, epsilon: 1e-8, weightDecay: settings.strengthWeightDecay },
      training,
      batchSize: Math.min(training.batchSize, validation.samples),
      seed,
    },
    validation,
    { runtime, threads, weights },
  );
  try {
    const key = JSON.stringify(graph.state.map(({ name, dims }) => [name, dims]));
    const saved = await checkpoint.load();
    const snapshot = saved === undefined ? undefined : decodeSnapshot(saved, key);
    const resume = snapshot === undefined ? undefined : await takeUp(snapshot, strengths);
    const feedsOf = async (batch: TrainingBatch, state: TrainingState) => {
      const { epoch, step } = batch;
      // A run that diverged starts again, and its strengths with it.
      if (epoch === 0 && step === 0) await strengths.reset();
      const fraction = (epoch + step / source.info.stepsPerEpoch) / training.epochs;
      const penalties = (isValidation: boolean) =>
        drawPenalties(places, { seed, skipDropout: settings.skipDropout }, { epoch, step, fraction, isValidation });
      if (fraction >= settings.warmupShare) await strengths.step(state, penalties(true));
      return {
        ...batch.feeds,
        ...labelFeeds(batch, graph, training.labelSmoothing),
        ...strengths.feeds(),
        ...penalties(false),
      };
    };
    const outcome = await train({
      model: mixed.model,
      graph,
      source,
      validation: undefined,
      settings: { ...trainerSettings(training), keep: 'last', patience: undefined },
      runtime,
      threads,
      signal,
      feedsOf,
      progress: (fraction, message) => context.progress(fraction, `weights and strengths of operations: ${message}`),
      save: (taken) => checkpoint.save(encodeSnapshot(withStrengths(taken, strengths), key)),
      snapshotSeconds: checkpoint.everySeconds,
      resume,
      concluding: context.concluding,
    });
    const values = strengths.feeds();
    const probabilities = places.map(({ alpha }) => softmax(values[alpha]?.data));
    const run = runReport('mixed', outcome);
    return {
      model: withTrained(mixed.model, outcome.values),
      probabilities,
      run,
      notDone: context.concluding === true ? [cutText(run, strengths)] : [],
    };
  } finally {
    await strengths.release();
  }
}

function cutText({ epochs, plannedEpochs }: TrainingRunReport, { updates }: Strengths): string {
  const choice =
    updates === 0
      ? 'no strength had been learned (darts.warmupShare), so the choice is that of the first operations within the limits'
      : 'the choice goes by the strengths as they were';
  return `the search was ended early: the operations had ${epochs.length} of ${plannedEpochs} epochs of training, and ${choice}`;
}

function withStrengths(snapshot: TrainingSnapshot, strengths: Strengths): TrainingSnapshot {
  const own = [...strengths.snapshot()].map(([name, values]) => [STRENGTH_STATE + name, values] as const);
  return { ...snapshot, state: new Map([...snapshot.state, ...own]) };
}

/** @returns what of a snapshot is the weights' */
async function takeUp(snapshot: TrainingSnapshot, strengths: Strengths): Promise<TrainingSnapshot> {
  const isOwn = (name: string): boolean => name.startsWith(STRENGTH_STATE);
  const own = [...snapshot.state].filter(([name]) => isOwn(name));
  await strengths.restore(new Map(own.map(([name, values]) => [name.slice(STRENGTH_STATE.length), values])));
  return { ...snapshot, state: new Map([...snapshot.state].filter(([name]) => !isOwn(name))) };
}

function softmax(strengths: ArrayLike<unknown> | undefined): number[] {
  const values = Array.from(strengths ?? [], Number);
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
