import { CompressionError, defined } from '../errors.ts';
import { Graph, NameScope, producersOf } from '../onnx/graph.ts';
import { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { makeNode } from '../onnx/node.ts';
import { tensorValue } from '../onnx/value-type.ts';
import type { Results, Session } from '../runtime/session.ts';
import { pointKey, type Observation, type ObservationPoint, type Observations } from './observe.ts';
import type { FeedBatch, FeedSource, PassContext } from './pass.ts';
import { accumulatorOf, RangeAccumulator, type Accumulator } from './statistics.ts';

/** Large enough to keep the kernels busy, small enough that activations of a batch stay a matter of megabytes. */
const MAX_BATCH = 16;
const INPUT_BYTES_PER_BATCH = 4 * 2 ** 20;
const FETCHED_BYTES_PER_BATCH = 24 * 2 ** 20;

type CalibrationContext = Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'progress'>;

/**
 * Runs the calibration data through the model once and answers the points. Memory is constant in the number of samples:
 * batches stream, extremes are taken inside the graph (ReduceMin and ReduceMax beside the observed values, so that
 * ONNX Runtime's fusions stay and no activation leaves it), and only histograms and channel means fetch values.
 * Duplicate points are answered once. The same samples give the same answers, whatever the number of threads; a moving
 * average also depends on the batch size, which is fixed by the size of the inputs.
 *
 * @param points - float values of the main graph, or graph inputs
 * @throws CompressionError MODEL_RUN when the model cannot run on the data or a value is not finite; DATASET_EMPTY
 */
export async function calibrate(
  model: Model,
  points: readonly ObservationPoint[],
  feeds: FeedSource,
  context: CalibrationContext,
): Promise<Observations> {
  const plan = planRun(model, points);
  const session = await context.runtime.createSession(plan.model, { threads: context.threads });
  try {
    const batchSize = await chooseBatchSize(session, plan, feeds);
    let samples = 0;
    for await (const batch of feeds.batches(batchSize)) {
      context.signal.throwIfAborted();
      collect(plan, await session.run(batch.feeds, plan.fetch), batch);
      samples += batch.count;
      context.progress(Math.min(samples / Math.max(feeds.samples, 1), 1), 'calibrating');
    }
    if (samples === 0)
      throw new CompressionError('DATASET_EMPTY', 'the calibration data set gave no sample; name one with samples');
    return answers(plan, samples);
  } finally {
    await session.release();
  }
}

/** One observed value: where its numbers come from in each run, and what they add to. */
interface Observed {
  readonly tensor: string;
  readonly accumulators: ReadonlyMap<string, Accumulator>;
  /** Outputs that hold the extremes; `min` absent: the value cannot be negative, 0 stands for its minimum. */
  readonly extremes?: { readonly max: string; readonly min?: string };
  /** Whether the values themselves are needed. */
  readonly fetched: boolean;
  /** Graph inputs are read from the feeds. */
  readonly isInput: boolean;
}

interface RunPlan {
  readonly model: Model;
  readonly observed: readonly Observed[];
  readonly fetch: readonly string[];
}

/** Operators whose result is never below zero: one reduction less. Ranges contain 0 anyway. */
const NEVER_NEGATIVE: ReadonlySet<string> = new Set([
  'Relu',
  'Sigmoid',
  'Softmax',
  'Abs',
  'Exp',
  'Softplus',
  'HardSigmoid',
]);

function planRun(model: Model, points: readonly ObservationPoint[]): RunPlan {
  const producers = producersOf(model.graph);
  const inputs = new Set(model.graph.inputs.map((input) => input.name));
  const outputs = new Set(model.graph.outputs.map((output) => output.name));
  const names = new NameScope(model.graph);
  const nodes = [...model.graph.nodes];
  const added = [...model.graph.outputs];
  const observed: Observed[] = [];
  const fetch: string[] = [];
  for (const [tensor, accumulators] of groupByTensor(points)) {
    if (!producers.has(tensor) && !inputs.has(tensor)) {
      throw new CompressionError('INTERNAL', `"${tensor}" is to be observed, but the main graph does not make it`);
    }
    const reduced = [...accumulators.values()].some((accumulator) => accumulator instanceof RangeAccumulator);
    const fetched = [...accumulators.values()].some((accumulator) => !(accumulator instanceof RangeAccumulator));
    const reduce = (opType: 'ReduceMax' | 'ReduceMin'): string => {
      const output = names.fresh(`${tensor}_${opType}`);
      nodes.push(makeNode(opType, [tensor], [output], { attributes: { keepdims: 0 }, name: output }));
      added.push(tensorValue(output, 'float', []));
      fetch.push(output);
      return output;
    };
    const nonNegative = NEVER_NEGATIVE.has(producers.get(tensor)?.opType ?? '');
    const extremes = reduced
      ? { max: reduce('ReduceMax'), ...(nonNegative ? {} : { min: reduce('ReduceMin') }) }
      : undefined;
    const isInput = inputs.has(tensor);
    if (fetched && !isInput) {
      if (!outputs.has(tensor)) added.push(tensorValue(tensor, 'float'));
      fetch.push(tensor);
    }
    observed.push({ tensor, accumulators, fetched, isInput, ...(extremes === undefined ? {} : { extremes }) });
  }
  // Shallow copies: weights are shared with the model, which stays as it is.
  const graph = Object.assign(new Graph({ name: model.graph.name }), model.graph, { nodes, outputs: added });
  const instrumented = Object.assign(new Model({ graph, opsetImports: model.opsetImports }), model, { graph });
  return { model: instrumented, observed, fetch };
}

function groupByTensor(points: readonly ObservationPoint[]): Map<string, Map<string, Accumulator>> {
  const groups = new Map<string, Map<string, Accumulator>>();
  for (const point of points) {
    const group = groups.get(point.tensor) ?? new Map<string, Accumulator>();
    groups.set(point.tensor, group);
    const key = pointKey(point);
    if (!group.has(key)) group.set(key, accumulatorOf(point.statistic));
  }
  return groups;
}

/** As many samples at once as the memory of inputs and fetched values allows; one trial run measures the latter. */
async function chooseBatchSize(session: Session, plan: RunPlan, feeds: FeedSource): Promise<number> {
  for await (const batch of feeds.batches(1)) {
    const inputBytes = Object.values(batch.feeds).reduce((sum, array) => sum + byteLength(array), 0) / batch.count;
    const byInput = Math.floor(INPUT_BYTES_PER_BATCH / Math.max(inputBytes, 1));
    let byFetched = MAX_BATCH;
    if (plan.observed.some(({ fetched }) => fetched)) {
      const results = await session.run(batch.feeds, plan.fetch);
      let fetchedBytes = 0;
      for (const array of results.values()) fetchedBytes += byteLength(array);
      byFetched = Math.floor(FETCHED_BYTES_PER_BATCH / Math.max(fetchedBytes / batch.count, 1));
    }
    return Math.max(1, Math.min(MAX_BATCH, byInput, byFetched));
  }
  return 1;
}

function byteLength(array: NdArray): number {
  return array.type === 'string' ? 0 : array.data.byteLength;
}

function collect(plan: RunPlan, results: Results, batch: FeedBatch): void {
  for (const { tensor, accumulators, extremes, fetched, isInput } of plan.observed) {
    const array = isInput ? batch.feeds[tensor] : results.get(tensor);
    const values = fetched && array !== undefined ? floatsOf(array, tensor) : undefined;
    const range = extremes === undefined ? undefined : rangeOf(results, extremes);
    for (const accumulator of accumulators.values()) {
      if (accumulator instanceof RangeAccumulator) {
        if (range !== undefined) accumulator.addRange(range.min, range.max);
      } else if (values !== undefined) accumulator.add(values.data, values.dims);
    }
  }
}

function floatsOf(array: NdArray, tensor: string): { data: Float32Array; dims: readonly number[] } {
  if (!(array.data instanceof Float32Array)) {
    throw new CompressionError('INTERNAL', `"${tensor}" is to be observed, but it is ${array.type}, not float`);
  }
  return { data: array.data, dims: array.dims };
}

function rangeOf(results: Results, extremes: { max: string; min?: string }): { min: number; max: number } {
  const scalar = (name: string): number => Number(defined(results.get(name), name).data[0]);
  return { max: scalar(extremes.max), min: extremes.min === undefined ? 0 : scalar(extremes.min) };
}

function answers(plan: RunPlan, samples: number): Observations {
  const known = new Map<string, Observation>();
  for (const { tensor, accumulators } of plan.observed) {
    for (const [key, accumulator] of accumulators) {
      const result = accumulator.result();
      if (result === undefined) continue;
      if (
        (result.kind === 'range' || result.kind === 'histogram') &&
        !(Number.isFinite(result.min) && Number.isFinite(result.max))
      ) {
        throw new CompressionError(
          'MODEL_RUN',
          `"${tensor}" became ${result.min} .. ${result.max} on the calibration data; check the model and the preprocessing, ` +
            'or exclude the nodes that make it',
        );
      }
      known.set(key, result);
    }
  }
  return { samples, get: (point) => known.get(pointKey(point)) };
}
