import type { z } from 'zod';
import type { TrainingBatch } from '../../../data/training/training-batch.ts';
import { decodeModel } from '../../../onnx/codec/decode.ts';
import { encodeModel } from '../../../onnx/codec/encode.ts';
import type { Model } from '../../../onnx/model.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import { TrainingRunReport } from '../../../schemas/training-report.ts';
import { finetune, trainerSettings, type FinetuneContext } from '../../../training/finetune.ts';
import { NO_REWRITE } from '../../../training/forward-rewrite.ts';
import { runReport } from '../../../training/run-report.ts';
import { withTrained } from '../../../training/trained-values.ts';
import type { ArchitectureOptions, OneShotField } from '../architecture-options.ts';
import type { Chapters } from '../chapters.ts';
import { insertMasks, maskFeeds, type Mask } from './masked-network.ts';
import { partAt, type SharedSpace } from './shared-space.ts';
import { drawPoint, shareEpochs } from './shrinking.ts';

export interface SharedTraining {
  readonly shared: SharedSpace;
  /** The largest network with fresh weights, its inputs named as the data are. */
  readonly largest: Model;
  readonly training: ArchitectureOptions['training'];
  readonly settings: z.output<typeof OneShotField>;
}

export interface SharedWeights {
  /** The largest network, whose parts the candidates are. Its running statistics are those of no candidate. */
  readonly model: Model;
  readonly runs: readonly TrainingRunReport[];
  /** In words what was not trained, where the search has to conclude before. */
  readonly notDone: readonly string[];
}

/**
 * Trains the largest network alone, then its parts: at each step one that is drawn, taught by the whole as it was before. When
 * concluding, the weights are those that an earlier attempt had saved last.
 *
 * @throws CompressionError DATASET_*; TRAIN_DIVERGED; TRAIN_NO_GRADIENT; LIMIT_TIME when concluding without any weights saved
 */
export async function trainShared(
  plan: SharedTraining,
  context: FinetuneContext,
  chapters: Chapters,
): Promise<SharedWeights> {
  const done = chapters.get('parts');
  if (done !== undefined) {
    const runs = [chapters.get('whole')?.data, done.data].map((data) => TrainingRunReport.parse(data));
    return { model: decodeModel(done.bytes), runs, notDone: [] };
  }
  const { epochs } = plan.training;
  const shares = shareEpochs(epochs, plan.settings.wholeShare);
  const part = shares.whole / (shares.whole + shares.parts);
  const whole = await chapter({ name: 'whole', from: 0, to: part }, chapters, context, async (own) => {
    const { outcome } = await finetune(plan.largest, { ...plan.training, epochs: shares.whole }, own);
    return { model: withTrained(plan.largest, outcome.values), run: runReport('shared-whole', outcome) };
  });
  if (context.concluding === true && !chapters.hasBegun('parts'))
    return {
      model: whole.model,
      runs: [whole.run],
      notDone: [`${epochsOf('the largest network', whole)}, and its parts none`],
    };
  const parts = await chapter({ name: 'parts', from: part, to: 1 }, chapters, context, (own) =>
    trainParts(plan, whole.model, shares.parts, own),
  );
  const notDone = context.concluding === true ? [epochsOf('the parts of the largest network', parts)] : [];
  return { model: parts.model, runs: [whole.run, parts.run], notDone };
}

function epochsOf(what: string, { run: { epochs, plannedEpochs } }: Trained): string {
  return `the search was ended early: ${what} had ${epochs.length} of ${plannedEpochs} epochs of training`;
}

interface Trained {
  readonly model: Model;
  readonly run: TrainingRunReport;
}

async function chapter(
  { name, from, to }: { readonly name: 'whole' | 'parts'; readonly from: number; readonly to: number },
  chapters: Chapters,
  context: FinetuneContext,
  train: (context: FinetuneContext) => Promise<Trained>,
): Promise<Trained> {
  const finished = chapters.get(name);
  if (finished !== undefined)
    return { model: decodeModel(finished.bytes), run: TrainingRunReport.parse(finished.data) };
  const label = name === 'whole' ? 'the largest network' : 'its parts';
  const trained = await train({
    ...context,
    checkpoint: chapters.checkpointOf(name),
    progress: (fraction, message) => context.progress(from + fraction * (to - from), `${label}: ${message}`),
  });
  // What was cut short is not over: another attempt that concludes finds it as this one did.
  if (context.concluding !== true) await chapters.finish(name, trained.run, encodeModel(trained.model));
  return trained;
}

async function trainParts(
  { shared, training, settings }: SharedTraining,
  whole: Model,
  epochs: number,
  context: FinetuneContext,
): Promise<Trained> {
  const { learningRate } = trainerSettings(training);
  const { distillation: weight, temperature } = settings;
  const draw = new PartFeeds(shared, context.seed);
  const { outcome } = await finetune(
    whole,
    {
      ...training,
      epochs,
      learningRate: learningRate * settings.learningRateShare,
      // What an epoch is worth cannot be told by one network.
      keep: 'last',
      patience: undefined,
    },
    context,
    {
      form: {
        rewrite: (b) => {
          draw.masks = insertMasks(b, shared.varying);
          return NO_REWRITE;
        },
        feeds: (batch, fraction) => draw.of(batch, fraction),
      },
      ...(weight === 0 ? {} : { teacher: { model: whole, weight, temperature } }),
    },
  );
  return { model: withTrained(whole, outcome.values), run: runReport('shared-parts', outcome) };
}

/** Draws of a network that cannot be are made again so often; then the whole network takes its turn. */
const MAX_DRAWS = 20;
/** Masks that are kept: drawing a network costs milliseconds, and small spaces have few. */
const MAX_KEPT = 512;

/** The masks of the network that is drawn for a batch. */
class PartFeeds {
  masks: readonly Mask[] = [];
  readonly #shared: SharedSpace;
  readonly #seed: number;
  readonly #kept = new Map<string, Readonly<Record<string, NdArray>> | undefined>();

  constructor(shared: SharedSpace, seed: number) {
    this.#shared = shared;
    this.#seed = seed;
  }

  of({ epoch, step }: TrainingBatch, fraction: number): Readonly<Record<string, NdArray>> {
    const { space, largest } = this.#shared;
    for (let attempt = 0; attempt < MAX_DRAWS; attempt += 1) {
      const point = drawPoint(this.#shared, this.#seed, { epoch, step, fraction, attempt });
      const key = space.key(point);
      if (!this.#kept.has(key)) {
        if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
        const part = partAt(this.#shared, point);
        this.#kept.set(key, typeof part === 'string' ? undefined : maskFeeds(this.masks, part.place));
      }
      const feeds = this.#kept.get(key);
      if (feeds !== undefined) return feeds;
    }
    const whole = partAt(this.#shared, largest);
    return typeof whole === 'string' ? {} : maskFeeds(this.masks, whole.place);
  }
}
