import { keyedRandom, STREAM } from '../../../data/training/keyed-random.ts';
import { CompressionError } from '../../../errors.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import { tensorValue } from '../../../onnx/value-type.ts';
import type { Runtime } from '../../../runtime/session.ts';
import type { TrainingField } from '../../../schemas/training.ts';
import { labelFeeds, labelKind } from '../../../training/finetune.ts';
import { taskLoss } from '../../../training/losses/task-loss.ts';
import type { OptimizerSettings } from '../../../training/optimizers/optimizer.ts';
import { optimizerScalars } from '../../../training/optimizers/optimizers.ts';
import { StepRunner } from '../../../training/step-runner.ts';
import { buildTrainingGraph, type TrainingGraph } from '../../../training/training-graph.ts';
import type { TrainingState } from '../../../training/training-state.ts';
import type { FeedBatch, FeedSource } from '../../pass.ts';
import type { MixedNetwork, MixedPlace } from './mixed-network.ts';

/** Glob of the strengths' names. */
export const STRENGTHS = 'alpha.*';
export const PENALTIES = 'penalty.*';
/** Takes an operation out: softmax gives it nothing. */
const OUT = -1e4;

export interface StrengthSettings {
  readonly learningRate: number;
  readonly optimizer: OptimizerSettings;
  /** What the loss of the weights is. */
  readonly training: TrainingField;
  readonly batchSize: number;
  readonly seed: number;
}

/** Turns initializers of a training graph into inputs, which are fed with each batch. @returns those that the graph has */
export function feedInitializers({ step }: TrainingGraph, names: Iterable<string>): readonly string[] {
  const { graph } = step.model;
  const fed: string[] = [];
  for (const name of names) {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined) continue;
    graph.initializers.delete(name);
    graph.inputs.push(tensorValue(name, 'float', tensor.dims));
    fed.push(name);
  }
  return fed;
}

/**
 * The strengths of the operations, learned on validation data with the weights as they are (first order): one step ahead of
 * each step of the weights.
 *
 * @see Liu et al., "DARTS", ICLR 2019, algorithm 1 with xi = 0
 */
export class Strengths {
  readonly #graph: TrainingGraph;
  readonly #runner: StepRunner;
  readonly #weights: readonly string[];
  readonly #settings: StrengthSettings;
  readonly #validation: Ring;
  #updates = 0;

  private constructor(
    parts: { readonly graph: TrainingGraph; readonly runner: StepRunner; readonly weights: readonly string[] },
    settings: StrengthSettings,
    validation: Ring,
  ) {
    this.#graph = parts.graph;
    this.#runner = parts.runner;
    this.#weights = parts.weights;
    this.#settings = settings;
    this.#validation = validation;
  }

  /**
   * @param weights - names of the weights that are fed with each step
   * @throws CompressionError DATASET_* for validation data without labels; TRAIN_NO_GRADIENT; MODEL_LOAD
   */
  static async create(
    mixed: MixedNetwork,
    settings: StrengthSettings,
    validation: FeedSource,
    runtime: { readonly runtime: Runtime; readonly threads: number; readonly weights: readonly string[] },
  ): Promise<Strengths> {
    const ring = new Ring(validation, settings.batchSize);
    const first = await ring.first();
    const { training } = settings;
    const graph = buildTrainingGraph(mixed.model, {
      batchSize: settings.batchSize,
      inputShapes: Object.fromEntries(Object.entries(first.feeds).map(([name, { dims }]) => [name, dims])),
      loss: taskLoss({ ...training, name: training.loss }, labelKind(asTraining(first))),
      batchNormalization: 'batch',
      decayExempt: [],
      accumulate: 1,
      optimizer: settings.optimizer,
      average: false,
      trainable: [STRENGTHS],
      seed: settings.seed,
    });
    const weights = feedInitializers(graph, [...runtime.weights, ...mixed.places.map(({ penalty }) => penalty)]);
    const runner = await StepRunner.create(
      graph,
      { scalars: optimizerScalars(settings.optimizer), accumulate: 1, averageDecay: undefined },
      runtime,
    );
    const penalties = new Set(mixed.places.map(({ penalty }) => penalty));
    return new Strengths({ graph, runner, weights: weights.filter((name) => !penalties.has(name)) }, settings, ring);
  }

  /**
   * One step on the next validation batch.
   *
   * @returns the loss before it
   */
  async step(state: TrainingState, penalties: Readonly<Record<string, NdArray>>): Promise<number> {
    const batch = await this.#validation.next();
    const weights = Object.fromEntries(this.#weights.map((name): [string, NdArray] => [name, viewOf(state, name)]));
    const { loss } = await this.#runner.run(
      {
        ...batch.feeds,
        ...labelFeeds(asTraining(batch), this.#graph, this.#settings.training.labelSmoothing),
        ...weights,
        ...penalties,
      },
      { updates: this.#updates, batchInGroup: 0, learningRate: this.#settings.learningRate },
    );
    this.#updates += 1;
    return loss;
  }

  /** Steps so far. */
  get updates(): number {
    return this.#updates;
  }

  /** As inputs of the graph that trains the weights. Views, valid until the next step. */
  feeds(): Record<string, NdArray> {
    const { state } = this.#runner;
    return Object.fromEntries(
      state.tensors
        .filter(({ kind }) => kind === 'parameter')
        .map(({ name }): [string, NdArray] => [name, viewOf(state, name)]),
    );
  }

  /** Everything that `restore` needs. */
  snapshot(): Map<string, Float32Array> {
    return new Map([...this.#runner.state.snapshot(), [UPDATES, Float32Array.of(this.#updates)]]);
  }

  async restore(saved: ReadonlyMap<string, Float32Array>): Promise<void> {
    for (const [name, values] of saved) if (name !== UPDATES) this.#runner.state.load(name, values);
    this.#updates = saved.get(UPDATES)?.[0] ?? 0;
    await this.#validation.moveTo(this.#updates);
  }

  /** As before the first step. */
  async reset(): Promise<void> {
    if (this.#updates === 0) return;
    for (const { name, dims } of this.#runner.state.tensors)
      this.#runner.state.load(name, new Float32Array(dims.reduce((product, size) => product * size, 1)));
    this.#updates = 0;
    await this.#validation.moveTo(0);
  }

  async release(): Promise<void> {
    await this.#runner.release();
  }
}

/** Among the state's names; no initializer of a network of the zoo is called so. */
const UPDATES = 'updates made';

function viewOf(state: TrainingState, name: string): NdArray {
  const dims = state.tensors.find((tensor) => tensor.name === name)?.dims ?? [];
  return { type: 'float', dims, data: state.values(name) };
}

function asTraining(batch: FeedBatch) {
  return { ...batch, epoch: 0, step: 0, samples: new Uint32Array(0) };
}

/**
 * Operations that hand on what they get are taken out at random, at first with the given probability, ever less often: they
 * learn nothing, so they look good before the others have learned, and would win by that.
 *
 * @param at.fraction - of the run that is done, 0..1
 * @see Chen et al., "Progressive Differentiable Architecture Search", ICCV 2019, section 3.3
 */
export function drawPenalties(
  places: readonly MixedPlace[],
  { seed, skipDropout }: { readonly seed: number; readonly skipDropout: number },
  at: { readonly epoch: number; readonly step: number; readonly fraction: number; readonly isValidation: boolean },
): Record<string, NdArray> {
  const random = keyedRandom(seed, STREAM.operation, at.epoch, at.step, at.isValidation ? 1 : 0);
  const probability = skipDropout * (1 - at.fraction);
  return Object.fromEntries(
    places.map(({ penalty, operations, skip }): [string, NdArray] => {
      const data = new Float32Array(operations);
      const isOut = random.uniform() < probability;
      if (skip !== undefined && isOut) data[skip] = OUT;
      return [penalty, { type: 'float', dims: [operations], data }];
    }),
  );
}

/** Whole batches of a source, one round after the other. */
class Ring {
  readonly #source: FeedSource;
  readonly #size: number;
  #batches: AsyncIterator<FeedBatch> | undefined;

  constructor(source: FeedSource, size: number) {
    this.#source = source;
    this.#size = size;
  }

  async first(): Promise<FeedBatch> {
    for await (const batch of this.#source.batches(this.#size)) {
      if (batch.labels === undefined)
        throw new CompressionError(
          'DATASET_LABELS',
          'the strengths of operations are learned on validation data, and those have no labels',
        );
      return batch;
    }
    throw new CompressionError('DATASET_EMPTY', 'the validation data give no batch');
  }

  async next(): Promise<FeedBatch> {
    for (let round = 0; round < 2; round += 1) {
      this.#batches ??= this.#source.batches(this.#size)[Symbol.asyncIterator]();
      const drawn = await this.#batches.next();
      if (drawn.done !== true && drawn.value.count === this.#size) return drawn.value;
      await this.#batches.return?.();
      this.#batches = undefined;
    }
    throw new CompressionError('DATASET_TOO_SMALL', `the validation data give no batch of ${this.#size}`);
  }

  /** To where it is after so many batches. */
  async moveTo(batches: number): Promise<void> {
    await this.#batches?.return?.();
    this.#batches = undefined;
    const round = Math.floor(this.#source.samples / this.#size);
    for (let skipped = 0; skipped < batches % round; skipped += 1) await this.next();
  }
}
