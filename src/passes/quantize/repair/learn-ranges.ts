import { CompressionError, defined } from '../../../errors.ts';
import { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { opsetOf, type Model } from '../../../onnx/model.ts';
import { makeNode } from '../../../onnx/node.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import { tensorValue } from '../../../onnx/value-type.ts';
import { upgradeOpset } from '../../../onnx/upgrade/upgrade-opset.ts';
import { sortTopologically } from '../../../onnx/verify/topological-order.ts';
import type { Session } from '../../../runtime/session.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { differentiate } from '../../../training/differentiate.ts';
import { fixNetwork, type FixedNetwork } from '../../../training/fixed-network.ts';
import { optimizerFragment, optimizerScalars } from '../../../training/optimizers/optimizers.ts';
import { StaticTypes } from '../../../training/static-types.ts';
import type { FeedBatch, FeedSource, PassContext } from '../../pass.ts';
import type { ActivationParams } from '../activation-params.ts';
import { planWeights } from '../weight-plan.ts';
import type { Quantization } from './repair.ts';
import { simulate } from './simulation.ts';

/** What learning has come to. */
export interface LearnedRanges {
  /** Of all quantizers; those that were not learned are as they were. */
  readonly params: ReadonlyMap<string, ActivationParams>;
  readonly report: LearnedRangesReport;
}

export interface LearnedRangesReport {
  readonly quantizers: number;
  readonly iterations: number;
  /** Squared error of the outputs over the square of the float outputs, on all the calibration data. */
  readonly errorBefore: number;
  /** With the ranges that are used: the learned ones, or those it began with where learning made nothing better. */
  readonly errorAfter: number;
}

const BATCH = 32;
/** Of the logarithm of a scale. It falls to zero in a straight line. */
const LEARNING_RATE = 0.01;
const ADAM = { name: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
const OPSET = 21;
/** Keeps the quotient finite where the float outputs are all zero. */
const TINY = 1e-30;

/**
 * Learns the scales of activations, all together, so that the outputs of the quantized model come as near as they can to those of the
 * model in float, on the calibration data; no labels are needed. Weights are in codes (rounded to nearest) while that is done; zero points
 * stay, so a range grows or shrinks at both ends. The gradient at a scale is that of LSQ, taken at its logarithm, by which no scale leaves
 * the positive numbers and all of them move at one pace. One run of a training graph an iteration.
 *
 * @param isLearned - of a quantizer, by its name; the others keep their ranges
 * @throws CompressionError DATASET_EMPTY; PASS_PRECONDITION; TRAIN_NO_GRADIENT naming a node; MODEL_RUN; AbortError when canceled
 * @see Esser et al., "Learned Step Size Quantization", ICLR 2020, eq. 3
 */
export async function learnRanges(
  model: Model,
  { decide, params, schemeOf }: Quantization,
  { iterations, isLearned }: { readonly iterations: number; readonly isLearned: (quantizer: string) => boolean },
  context: PassContext,
): Promise<LearnedRanges> {
  const quantized = copyModel(model);
  const { plan, view } = decide(quantized);
  const job = { model: quantized, view, plan, params, weights: planWeights(plan, params, schemeOf) };
  const { scales } = simulate(job);
  const names = [...scales.keys()].filter(isLearned);
  const feeds = context.data.calibration;
  const first = feeds === undefined ? undefined : await firstOf(feeds);
  if (feeds === undefined || first === undefined) {
    throw new CompressionError('DATASET_EMPTY', 'ranges are learned on calibration data, and it gave no sample');
  }
  if (names.length === 0) {
    return { params, report: { quantizers: 0, iterations: 0, errorBefore: 0, errorAfter: 0 } };
  }
  const start = names.map((name) => defined(params.get(name), `parameters of "${name}"`).scale);
  const scaleValues = names.map((name) => defined(scales.get(name), `scale of "${name}"`));
  const networks = sideBySide(model, quantized, first);
  const learner = await Learner.create(networks, { scaleValues, start }, context);
  try {
    const batches = (): AsyncIterable<FeedBatch> => feeds.batches(BATCH);
    const errorBefore = await learner.error(batches(), first.count);
    await learner.learn(batches, { iterations, samples: first.count });
    const errorAfter = await learner.error(batches(), first.count);
    const isBetter = errorAfter < errorBefore;
    const learned = learner.scales();
    const moved = new Map(params);
    if (isBetter) names.forEach((name, at) => moved.set(name, withScale(params, name, learned[at] ?? 0)));
    const report = {
      quantizers: names.length,
      iterations,
      errorBefore,
      errorAfter: isBetter ? errorAfter : errorBefore,
    };
    return { params: moved, report };
  } finally {
    await learner.release();
  }
}

async function firstOf(feeds: FeedSource): Promise<FeedBatch | undefined> {
  for await (const batch of feeds.batches(BATCH)) return batch;
  return undefined;
}

function withScale(params: ReadonlyMap<string, ActivationParams>, name: string, scale: number): ActivationParams {
  const before = defined(params.get(name), `parameters of "${name}"`);
  const [low, high] = before.range.map((code) => (code - before.zeroPoint) * scale);
  const { clippedShare: _, ...kept } = before;
  return { ...kept, scale, interval: { min: low ?? 0, max: high ?? 0 } };
}

interface Networks {
  readonly float: Model;
  readonly quantized: FixedNetwork;
  /** Values that are compared: of the float model, and of the quantized one. */
  readonly compared: readonly (readonly [float: string, quantized: string])[];
}

/** Both models at the batch size of the data. Where both end in a Softmax, what goes into it is compared. */
function sideBySide(model: Model, quantized: Model, { feeds }: FeedBatch): Networks {
  const shapes = Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
  const { skipped } = upgradeOpset(quantized, OPSET);
  if (opsetOf(quantized) < OPSET) {
    const [held] = skipped;
    throw new CompressionError(
      'PASS_PRECONDITION',
      `ranges are learned in opset ${OPSET}, and the model cannot be raised to it` +
        `${held === undefined ? '' : ` (${held.node}: ${held.reason})`}; use another method`,
    );
  }
  const float = fixNetwork(model, shapes);
  const fixed = fixNetwork(quantized, shapes);
  const compared = float.model.graph.outputs.flatMap(({ name }, at): (readonly [string, string])[] => {
    const other = fixed.model.graph.outputs[at]?.name ?? name;
    if (at === 0 && float.scores !== name && fixed.scores !== other) return [[float.scores, fixed.scores]];
    return float.types.isFloat(name) ? [[name, other]] : [];
  });
  const { graph } = float.model;
  graph.outputs = compared.map(([name]) => tensorValue(name, 'float'));
  return { float: float.model, quantized: fixed, compared };
}

interface State {
  readonly [name: string]: NdArray;
  readonly logs: NdArray;
  readonly first: NdArray;
  readonly second: NdArray;
}

/** The step graph with its state: how far the logarithm of each scale has moved, and Adam's moments. */
class Learner {
  readonly #step: Session;
  readonly #float: Session;
  readonly #networks: Networks;
  readonly #start: readonly number[];
  readonly #signal: AbortSignal;
  #state: State;
  #spare: State;

  private constructor(
    sessions: { readonly step: Session; readonly float: Session },
    networks: Networks,
    start: readonly number[],
    signal: AbortSignal,
  ) {
    this.#step = sessions.step;
    this.#float = sessions.float;
    this.#networks = networks;
    this.#start = start;
    this.#signal = signal;
    this.#state = stateOf(start.length);
    this.#spare = stateOf(start.length);
  }

  static async create(
    networks: Networks,
    { scaleValues, start }: { readonly scaleValues: readonly string[]; readonly start: readonly number[] },
    { runtime, threads, signal }: PassContext,
  ): Promise<Learner> {
    const model = stepGraph(networks, scaleValues, start);
    const step = await runtime.createSession(model, { threads, memoryPattern: false });
    try {
      const float = await runtime.createSession(networks.float, { threads });
      return new Learner({ step, float }, networks, start, signal);
    } catch (error) {
      await step.release();
      throw error;
    }
  }

  /** Error over signal of the batches of `samples`, with the scales as they are. */
  async error(batches: AsyncIterable<FeedBatch>, samples: number): Promise<number> {
    let [sum, count] = [0, 0];
    for await (const batch of batches) {
      this.#signal.throwIfAborted();
      if (batch.count !== samples) continue;
      const results = await this.#step.run(await this.#feeds(batch, 0, 1), ['loss']);
      sum += Number(results.get('loss')?.data[0]);
      count += 1;
    }
    return sum / count;
  }

  /** @param samples - of a batch; the rest of the data that fills none is left out */
  async learn(
    batches: () => AsyncIterable<FeedBatch>,
    { iterations, samples }: { readonly iterations: number; readonly samples: number },
  ): Promise<void> {
    for (let step = 0; step < iterations;) {
      for await (const batch of batches()) {
        this.#signal.throwIfAborted();
        if (batch.count !== samples) continue;
        const feeds = await this.#feeds(batch, LEARNING_RATE * (1 - step / iterations), step + 1);
        const spare = this.#spare;
        await this.#step.run(feeds, [], { next_logs: spare.logs, next_first: spare.first, next_second: spare.second });
        [this.#state, this.#spare] = [spare, this.#state];
        step += 1;
        if (step >= iterations) break;
      }
    }
  }

  scales(): Float32Array {
    const logs = this.#state.logs.data as Float32Array;
    return Float32Array.from(this.#start, (scale, at) => scale * Math.exp(logs[at] ?? 0));
  }

  async release(): Promise<void> {
    await this.#step.release();
    await this.#float.release();
  }

  async #feeds(batch: FeedBatch, rate: number, step: number): Promise<Record<string, NdArray>> {
    const feeds: Record<string, NdArray> = { ...batch.feeds, ...this.#state };
    const targets = await this.#float.run(batch.feeds);
    this.#networks.compared.forEach(([name], at) => {
      feeds[targetName(at)] = defined(targets.get(name), `output "${name}"`);
    });
    const scalars = optimizerScalars(ADAM).at(step, rate);
    for (const [name, value] of Object.entries(scalars))
      feeds[name] = { type: 'float', dims: [], data: Float32Array.of(value) };
    return feeds;
  }
}

function stateOf(count: number): State {
  const zeros = (): NdArray => ({ type: 'float', dims: [count], data: new Float32Array(count) });
  return { logs: zeros(), first: zeros(), second: zeros() };
}

function targetName(at: number): string {
  return `tersor_target_${at}`;
}

/** One iteration: the quantized model, its distance to the targets, the gradient by the logarithms, Adam. */
function stepGraph({ quantized, compared }: Networks, scaleValues: readonly string[], start: readonly number[]): Model {
  const { model, types } = quantized;
  const { graph } = model;
  const shapes = compared.map(([, name]) => types.shape(name));
  graph.outputs = [];
  const b = new GraphBuilder(graph);
  const size = [scaleValues.length];
  const logs = b.input('logs', 'float', size);
  const moments = new Map([
    ['first_moment', b.input('first', 'float', size)],
    ['second_moment', b.input('second', 'float', size)],
  ]);
  const factors = b.op('Exp', [logs]);
  scaleValues.forEach((value, at) => {
    const base = b.float('start', start[at] ?? 1);
    const factor = b.op('Gather', [
      factors,
      b.array('place', { type: 'int64', dims: [], data: BigInt64Array.of(BigInt(at)) }),
    ]);
    graph.initializers.delete(value);
    graph.nodes.push(makeNode('Mul', [base, factor], [value], { name: b.fresh('scale') }));
  });
  const all = { attributes: { keepdims: 0 } };
  const terms = compared.map(([, name], at) => {
    const target = b.input(targetName(at), 'float', shapes[at] ?? []);
    const error = b.op('ReduceSumSquare', [b.op('Sub', [name, target])], all);
    const signal = b.op('Add', [b.op('ReduceSumSquare', [target], all), b.float('tiny', TINY)]);
    return b.op('Div', [error, signal]);
  });
  const loss = terms.length === 1 ? (terms[0] ?? '') : b.op('Sum', terms);
  sortTopologically(graph);
  model.opsetImports.set('com.microsoft', 1);
  const gradients = differentiate(b, { loss, wrt: [logs], types: new StaticTypes(model) });
  const update = optimizerFragment({ b, scalar: (name) => b.input(name, 'float', []) }, ADAM);
  const next = update({
    value: logs,
    gradient: defined(gradients.get(logs), 'gradient at the scales'),
    decays: false,
    moment: (name) => defined(moments.get(name), name),
  });
  b.output(loss, 'loss', 'float', []);
  b.output(next.value, 'next_logs', 'float', size);
  b.output(defined(next.moments.get('first_moment'), 'first moment'), 'next_first', 'float', size);
  b.output(defined(next.moments.get('second_moment'), 'second moment'), 'next_second', 'float', size);
  return model;
}
