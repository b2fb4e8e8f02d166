import { CompressionError } from '../errors.ts';
import { NameScope, usesOf, type Graph, type Use } from '../onnx/graph.ts';
import { opsetOf, type Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { makeNode, type Node } from '../onnx/node.ts';
import { Tensor } from '../onnx/tensor.ts';
import { tensorValue } from '../onnx/value-type.ts';
import type { Runtime, Session } from '../runtime/session.ts';
import { copyModel } from './copy-model.ts';

/** PyTorch's default; ONNX's `momentum` is the share that stays, PyTorch's 0.1 the share that is new. */
const MOMENTUM = 0.9;
const EPSILON = 1e-5;
/** Of a filter: what He's first weights have in expectation where as many channels come out as go in. */
const FILTER_NORM = Math.SQRT2;
/** First opset in which ReduceMean takes its axes as an input. */
const AXES_ARE_AN_INPUT = 18;

export interface RestoreRun {
  readonly runtime: Runtime;
  readonly threads: number;
  readonly signal: AbortSignal;
  /** What the model is fed, batch by batch; statistics are taken over all of it. */
  readonly batches: AsyncIterable<{ readonly feeds: Readonly<Record<string, NdArray>>; readonly count: number }>;
}

/**
 * Puts BatchNormalization behind each Conv that has a constant bias and none behind it, as if it had never been folded:
 * the bias goes, filters that no other node reads are brought to one norm, mean and variance of each channel are measured, and
 * scale and bias are chosen so that the node gives back what the convolution gave. The function of the model is unchanged, but
 * it trains as one with normalization does: behind it a filter of norm n turns by rate / n², so the rate of learning must not
 * depend on what the folded weights happen to measure.
 *
 * @returns how many were put in; 0 leaves the model as it was
 * @throws CompressionError DATASET_EMPTY without a batch; MODEL_RUN; the signal's reason
 * @see Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and section 3.1; for the norms van Laarhoven,
 *   "L2 Regularization versus Batch and Weight Normalization", 2017, section 2
 */
export async function restoreBatchNormalization(model: Model, run: RestoreRun): Promise<number> {
  const convolutions = foldedConvolutions(model.graph);
  if (convolutions.length === 0) return 0;
  const statistics = await measure(model, convolutions, run);
  const names = new NameScope(model.graph);
  const usesBefore = usesOf(model.graph);
  const visible = new Set([...model.graph.inputs, ...model.graph.outputs].map(({ name }) => name));
  const behind = new Map<Node, Node>();
  for (const convolution of convolutions) {
    const measured = statistics.get(convolution.output);
    if (measured === undefined) continue;
    const { name } = convolution.weight;
    const isShared = usesBefore.get(name)?.length !== 1 || visible.has(name);
    const norms = isShared ? undefined : normalizeFilters(model.graph, convolution);
    behind.set(convolution.node, insertBehind(model.graph, names, { convolution, measured, norms }));
  }
  model.graph.nodes = model.graph.nodes.flatMap((node) => {
    const added = behind.get(node);
    return added === undefined ? [node] : [node, added];
  });
  const uses = usesOf(model.graph);
  for (const { bias } of convolutions) {
    if (!uses.has(bias.name) && !visible.has(bias.name)) model.graph.initializers.delete(bias.name);
  }
  return behind.size;
}

interface Convolution {
  readonly node: Node;
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly output: string;
  /** Axes of the output. */
  readonly rank: number;
}

function foldedConvolutions(graph: Graph): Convolution[] {
  const uses = usesOf(graph);
  return graph.nodes.flatMap((node) => {
    const [, weightName = '', biasName = ''] = node.inputs;
    const [output = ''] = node.outputs;
    const weight = graph.initializers.get(weightName);
    const bias = graph.initializers.get(biasName);
    if (node.opType !== 'Conv' || node.domain !== '' || weight?.dataType !== 'float' || bias === undefined) return [];
    if ((uses.get(output) ?? []).some(isNormalization)) return [];
    return [{ node, weight, bias, output, rank: weight.dims.length }];
  });
}

function isNormalization({ node, inputIndex }: Use): boolean {
  return node.opType === 'BatchNormalization' && inputIndex === 0;
}

/** Of each channel, in float64. */
class ChannelStatistics {
  readonly mean: Float64Array;
  /** Sum of squared distances from the mean. */
  readonly #squares: Float64Array;
  #samples = 0;

  constructor(channels: number) {
    this.mean = new Float64Array(channels);
    this.#squares = new Float64Array(channels);
  }

  /** Batches weigh by their samples. Chan et al., 1979. */
  add(means: ArrayLike<number>, variances: ArrayLike<number>, samples: number): void {
    const before = this.#samples;
    this.#samples += samples;
    const share = samples / this.#samples;
    for (let channel = 0; channel < this.mean.length; channel += 1) {
      const distance = Number(means[channel]) - Number(this.mean[channel]);
      this.mean[channel] = Number(this.mean[channel]) + distance * share;
      const spread = distance * distance * before * share;
      this.#squares[channel] = Number(this.#squares[channel]) + Number(variances[channel]) * samples + spread;
    }
  }

  variance(channel: number): number {
    return Number(this.#squares[channel]) / this.#samples;
  }
}

async function measure(
  model: Model,
  convolutions: readonly Convolution[],
  { runtime, threads, signal, batches }: RestoreRun,
): Promise<ReadonlyMap<string, ChannelStatistics>> {
  const probe = withStatistics(model, convolutions);
  const statistics = new Map<string, ChannelStatistics>();
  const session = await runtime.createSession(probe.model, { threads });
  try {
    for await (const { feeds, count } of batches) {
      signal.throwIfAborted();
      await addBatch(session, { feeds, count }, probe.outputs, statistics);
    }
  } finally {
    await session.release();
  }
  if (statistics.size > 0) return statistics;
  throw new CompressionError(
    'DATASET_EMPTY',
    'restoreBatchNormalization measures the layers on data, and there was no batch; give more samples',
  );
}

interface Probe {
  readonly of: string;
  readonly mean: string;
  readonly variance: string;
}

async function addBatch(
  session: Session,
  { feeds, count }: { readonly feeds: Readonly<Record<string, NdArray>>; readonly count: number },
  probes: readonly Probe[],
  statistics: Map<string, ChannelStatistics>,
): Promise<void> {
  const results = await session.run(
    feeds,
    probes.flatMap(({ mean, variance }) => [mean, variance]),
  );
  for (const { of, mean, variance } of probes) {
    const [means, variances] = [results.get(mean)?.data, results.get(variance)?.data];
    if (!(means instanceof Float32Array) || !(variances instanceof Float32Array))
      throw new CompressionError('INTERNAL', `no statistics of "${of}"`);
    const sums = statistics.get(of) ?? new ChannelStatistics(means.length);
    sums.add(means, variances, count);
    statistics.set(of, sums);
  }
}

/** A copy that gives mean and variance of the convolutions' outputs, so that whole activations never leave the runtime. */
function withStatistics(
  model: Model,
  convolutions: readonly Convolution[],
): { readonly model: Model; readonly outputs: readonly Probe[] } {
  const copy = copyModel(model);
  const { graph } = copy;
  const names = new NameScope(graph);
  const axesAreAnInput = opsetOf(model) >= AXES_ARE_AN_INPUT;
  const outputs: Probe[] = [];
  graph.outputs = [];
  for (const { output, rank } of convolutions) {
    const axes = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== 1);
    const axesName = names.fresh(`${output}_axes`);
    if (axesAreAnInput) graph.initializers.set(axesName, Tensor.int64(axesName, axes));
    const meanOf = (value: string, result: string, keepdims: number): Node =>
      axesAreAnInput
        ? makeNode('ReduceMean', [value, axesName], [result], { attributes: { keepdims } })
        : makeNode('ReduceMean', [value], [result], { attributes: { axes, keepdims } });
    const [mean, distance, square, variance] = ['mean', 'distance', 'square', 'variance'].map((name) =>
      names.fresh(`${output}_${name}`),
    );
    if (mean === undefined || distance === undefined || square === undefined || variance === undefined) continue;
    graph.nodes.push(
      meanOf(output, mean, 1),
      makeNode('Sub', [output, mean], [distance]),
      makeNode('Mul', [distance, distance], [square]),
      meanOf(square, variance, 0),
    );
    graph.outputs.push(
      tensorValue(mean, 'float', [1, null, ...axes.slice(1).map(() => 1)]),
      tensorValue(variance, 'float', [null]),
    );
    outputs.push({ of: output, mean, variance });
  }
  return { model: copy, outputs };
}

/** Brings each filter to `FILTER_NORM`. @returns what it was divided by; 1 for a filter of zeros */
function normalizeFilters(graph: Graph, { weight }: Convolution): Float64Array {
  const values = Float32Array.from(weight.floats());
  const channels = weight.dims[0] ?? 1;
  const size = values.length / channels;
  const norms = new Float64Array(channels);
  for (let channel = 0; channel < channels; channel += 1) {
    const filter = values.subarray(channel * size, (channel + 1) * size);
    const norm = Math.sqrt(filter.reduce((sum, value) => sum + value * value, 0)) / FILTER_NORM || 1;
    for (let index = 0; index < size; index += 1) filter[index] = Number(filter[index]) / norm;
    norms[channel] = norm;
  }
  graph.initializers.set(weight.name, Tensor.float(weight.name, values, weight.dims));
  return norms;
}

/** Takes the convolution's bias away. @returns the node that goes behind it and has its name for the output */
function insertBehind(
  graph: Graph,
  names: NameScope,
  {
    convolution,
    measured,
    norms,
  }: {
    readonly convolution: Convolution;
    readonly measured: ChannelStatistics;
    /** What the filters were divided by, if at all. */
    readonly norms: Float64Array | undefined;
  },
): Node {
  const { node, bias, output } = convolution;
  const biases = bias.floats();
  const channels = biases.length;
  const base = node.name === '' ? output : node.name;
  const vector = (part: string, of: (channel: number) => number): string => {
    const name = names.fresh(`${base}.bn.${part}`);
    graph.initializers.set(
      name,
      Tensor.float(
        name,
        Float32Array.from({ length: channels }, (_, channel) => of(channel)),
      ),
    );
    return name;
  };
  const inner = names.fresh(`${output}_before_bn`);
  node.inputs = node.inputs.slice(0, 2);
  node.outputs = [inner];
  const mean = (channel: number): number => Number(measured.mean[channel]);
  const normOf = (channel: number): number => norms?.[channel] ?? 1;
  const variance = (channel: number): number => measured.variance(channel) / normOf(channel) ** 2;
  const inputs = [
    inner,
    vector('weight', (channel) => normOf(channel) * Math.sqrt(variance(channel) + EPSILON)),
    vector('bias', mean),
    vector('running_mean', (channel) => (mean(channel) - Number(biases[channel])) / normOf(channel)),
    vector('running_var', variance),
  ];
  return makeNode('BatchNormalization', inputs, [output], {
    name: names.fresh(`${base}.bn`),
    attributes: { epsilon: EPSILON, momentum: MOMENTUM },
  });
}
