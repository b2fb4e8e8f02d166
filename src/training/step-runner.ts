import type { NdArray } from '../onnx/nd-array.ts';
import type { Runtime, Session } from '../runtime/session.ts';
import { blockConvolutions, convolutionBlock } from './blocked-convolutions.ts';
import { copyModel } from './copy-model.ts';
import { AVERAGE_RATE } from './optimizers/update.ts';
import type { OptimizerScalars } from './optimizers/optimizer.ts';
import { DropoutFeeds } from './dropout.ts';
import type { StepGraph, TrainingGraph } from './training-graph.ts';
import { TrainingState } from './training-state.ts';

export interface StepResult {
  /** Mean loss of the batch, before the update. */
  readonly loss: number;
  /** Its parts without their weights, by name. */
  readonly parts: ReadonlyMap<string, number>;
  /** Norm of the gradients before clipping; where they are clipped, and with accumulation at updates only. */
  readonly gradientNorm: number | undefined;
}

export interface StepSettings {
  readonly scalars: OptimizerScalars;
  /** Batches an update. */
  readonly accumulate: number;
  /** Decay of the moving average of the weights, 0..1. */
  readonly averageDecay: number | undefined;
}

/** Runs training steps on a state: the sessions of a training graph, with everything they are fed. */
export class StepRunner {
  readonly state: TrainingState;
  readonly #graph: TrainingGraph;
  readonly #settings: StepSettings;
  readonly #step: Session;
  readonly #update: Session | undefined;
  readonly #dropout: DropoutFeeds;

  private constructor(graph: TrainingGraph, settings: StepSettings, sessions: { step: Session; update?: Session }) {
    this.#graph = graph;
    this.#settings = settings;
    this.#step = sessions.step;
    this.#update = sessions.update;
    this.#dropout = new DropoutFeeds(graph.dropout.masks, graph.dropout.seed);
    this.state = new TrainingState(graph.state);
  }

  /** @throws CompressionError MODEL_LOAD, LIMIT_MEMORY */
  static async create(
    graph: TrainingGraph,
    settings: StepSettings,
    { runtime, threads }: { readonly runtime: Runtime; readonly threads: number },
  ): Promise<StepRunner> {
    const lowered = copyModel(graph.step.model);
    blockConvolutions(lowered, await convolutionBlock(runtime));
    const step = await runtime.createSession(lowered, { threads, memoryPattern: false });
    if (graph.update === undefined) return new StepRunner(graph, settings, { step });
    const update = await runtime.createSession(graph.update.model, { threads });
    return new StepRunner(graph, settings, { step, update });
  }

  /**
   * Forward, backward and, on the last batch of a group, the update.
   *
   * @param batch - all inputs that are neither state nor scalars
   * @param at - number of updates made before, and of batches since
   */
  async run(
    batch: Readonly<Record<string, NdArray>>,
    at: { readonly updates: number; readonly batchInGroup: number; readonly learningRate: number },
  ): Promise<StepResult> {
    const { step, update, loss, parts, gradientNorm } = this.#graph;
    const scalars = this.#scalarsAt(at.updates + 1, at.learningRate);
    const masks = this.#dropout.of(at.updates * this.#settings.accumulate + at.batchInGroup);
    const norm = update === undefined && gradientNorm !== undefined ? [gradientNorm] : [];
    const result = await this.#runGraph(this.#step, step, { ...batch, ...masks, ...pick(scalars, step.scalars) }, [
      loss,
      ...parts.values(),
      ...norm,
    ]);
    let gradients = result.get(gradientNorm ?? '');
    if (update !== undefined && this.#update !== undefined && at.batchInGroup === this.#settings.accumulate - 1) {
      const outputs = gradientNorm === undefined ? [] : [gradientNorm];
      const updated = await this.#runGraph(this.#update, update, pick(scalars, update.scalars), outputs);
      gradients = updated.get(gradientNorm ?? '');
      this.state.clear('accumulator');
    }
    return {
      loss: result.get(loss) ?? NaN,
      parts: new Map([...parts].map(([name, output]) => [name, result.get(output) ?? NaN])),
      gradientNorm: gradients,
    };
  }

  async release(): Promise<void> {
    await this.#step.release();
    await this.#update?.release();
  }

  /** @returns the scalar outputs asked for */
  async #runGraph(
    session: Session,
    graph: StepGraph,
    feeds: Readonly<Record<string, NdArray>>,
    outputs: readonly string[],
  ): Promise<ReadonlyMap<string, number>> {
    const { state } = this;
    const results = await session.run({ ...feeds, ...state.feedsOf(graph) }, outputs, state.targetsOf(graph));
    state.advance(graph);
    return new Map(outputs.map((name) => [name, Number(results.get(name)?.data[0])]));
  }

  #scalarsAt(update: number, learningRate: number): Readonly<Record<string, number>> {
    const { scalars, averageDecay } = this.#settings;
    const values = scalars.at(update, learningRate);
    if (averageDecay === undefined) return values;
    // A young average must not be dominated by the weights it started from.
    return { ...values, [AVERAGE_RATE]: 1 - Math.min(averageDecay, update / (update + 9)) };
  }
}

function pick(values: Readonly<Record<string, number>>, names: readonly string[]): Record<string, NdArray> {
  return Object.fromEntries(
    names.map((name) => [name, { type: 'float', dims: [], data: Float32Array.of(values[name] ?? NaN) }]),
  );
}
