import { DATA_TYPES, isFloatType } from '../onnx/data-type.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { Model } from '../onnx/model.ts';
import { describeNode } from '../onnx/node.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { FeedSource } from '../passes/pass.ts';
import type { Runtime, Session } from '../runtime/session.ts';
import type { LayerReport } from '../schemas/report.ts';
import { throwIfAborted } from './accuracy.ts';
import { Difference } from './fidelity.ts';
import { matchLayers, type LayerPair } from './layer-match.ts';
import { asNumbers } from './numbers.ts';
import { countWeight, dequantized } from './stored-weights.ts';
import { groupsOf, valueBytes, withOutputs } from './value-groups.ts';

export interface PerLayerOptions {
  readonly threads: number;
  /** Samples to run at most. Default 16. */
  readonly maxSamples?: number;
  /** Time to stop after, at least one sample each group of values. Default 8 s. */
  readonly budgetMs?: number;
  /** Values kept for one sample on either side, at once. Default 64 MiB. */
  readonly groupBytes?: number;
  readonly signal?: AbortSignal;
  readonly progress?: (fraction: number) => void;
}

const MAX_LAYERS = 1024;

/**
 * Compares the two models layer by layer: weights as stored, and outputs on a few samples with the errors of earlier
 * layers included ("accumulated"). Both run without graph optimizations, so that every value exists; kernels of
 * optimized graphs may round differently.
 *
 * Values are fetched in groups of bounded size, one sample at a time: memory does not grow with layers or samples.
 *
 * @throws CompressionError MODEL_LOAD, MODEL_RUN; CANCELED
 */
export async function perLayer(
  runtime: Runtime,
  models: { readonly baseline: Model; readonly result: Model },
  feeds: FeedSource | undefined,
  options: PerLayerOptions,
): Promise<LayerReport[]> {
  const { graph } = models.baseline;
  const types = inferTypes(models.baseline);
  const isFloat = (name: string): boolean => {
    const type = types.of(graph, name);
    return type?.kind === 'tensor' && isFloatType(type.elementType);
  };
  // Weightless nodes also compute shapes; only those on real numbers that the result still has tell something.
  const pairs = matchLayers(graph, models.result.graph)
    .filter(({ weight, counterpart, output }) => weight !== undefined || (counterpart !== undefined && isFloat(output)))
    .slice(0, MAX_LAYERS);
  const states = pairs.map((pair) => new LayerState(pair));
  const comparable = states.filter((state) => state.pair.counterpart !== undefined);
  if (feeds !== undefined && comparable.length > 0) {
    const groups = groupsOf(
      comparable,
      ({ pair }) => valueBytes(types.of(graph, pair.output)),
      options.groupBytes ?? 64 * 2 ** 20,
    );
    const budgetMs = (options.budgetMs ?? 8000) / groups.length;
    for (const [index, group] of groups.entries()) {
      await runGroup({ runtime, models, feeds }, group, { ...options, budgetMs });
      options.progress?.((index + 1) / groups.length);
    }
  }
  return states.map((state) => state.report());
}

interface Compared {
  readonly runtime: Runtime;
  readonly models: { readonly baseline: Model; readonly result: Model };
  readonly feeds: FeedSource;
}

class LayerState {
  readonly pair: LayerPair;
  readonly difference = new Difference();
  #dims: readonly number[] | undefined;
  #min = Infinity;
  #max = -Infinity;
  #clipped = 0;
  #values = 0;
  #note: string | undefined;

  constructor(pair: LayerPair) {
    this.pair = pair;
  }

  add(baseline: ReadonlyMap<string, NdArray>, result: ReadonlyMap<string, NdArray>): void {
    const { output, counterpart } = this.pair;
    if (counterpart === undefined) return;
    const [first, second] = [baseline.get(output), result.get(counterpart.name)];
    if (first === undefined || second === undefined) return;
    this.#dims ??= first.dims;
    const x = asNumbers(first);
    let y = asNumbers(second);
    if (x === undefined || y === undefined) return;
    this.#observe(x);
    if (x.length !== y.length) {
      this.#note = `shape changed from [${first.dims.join(', ')}] to [${second.dims.join(', ')}]`;
      return;
    }
    const quantized = counterpart.quantized;
    if (quantized?.stored === true) {
      const real = new Float32Array(y.length);
      for (let i = 0; i < real.length; i += 1) real[i] = ((y[i] ?? 0) - quantized.zeroPoint) * quantized.scale;
      y = real;
    }
    this.difference.add(x, y);
  }

  #observe(x: ArrayLike<number>): void {
    const quantized = this.pair.counterpart?.quantized;
    // Half a step past the end still rounds to the end: only what lies further out is clipped.
    const low = quantized === undefined ? -Infinity : quantized.low - quantized.scale / 2;
    const high = quantized === undefined ? Infinity : quantized.high + quantized.scale / 2;
    for (let i = 0, { length } = x; i < length; i += 1) {
      const value = x[i] ?? NaN;
      if (value < this.#min) this.#min = value;
      if (value > this.#max) this.#max = value;
      if (value < low || value > high) this.#clipped += 1;
    }
    this.#values += x.length;
  }

  report(): LayerReport {
    const { node, output, counterpart } = this.pair;
    const weights = this.#weights();
    const activations = this.#activations();
    const compared = this.difference.elements > 0;
    const note =
      this.#note ??
      (counterpart === undefined
        ? `the result has no value "${output}": the layer was merged, replaced or removed`
        : compared
          ? this.difference.note
          : undefined);
    return {
      name: node.name === '' ? describeNode(node) : node.name,
      opType: node.opType,
      output,
      ...(this.#dims === undefined ? {} : { shape: [...this.#dims] }),
      ...(weights === undefined ? {} : { weights }),
      ...(activations === undefined ? {} : { activations }),
      ...(compared ? { sqnrDb: this.difference.sqnrDb, cosine: this.difference.cosine } : {}),
      ...(note === undefined ? {} : { note }),
    };
  }

  #weights(): LayerReport['weights'] {
    const { weight, resultWeight, sameWeights, channelAxis } = this.pair;
    if (weight === undefined || resultWeight === undefined) return undefined;
    const { tensor, packed } = resultWeight;
    const count = countWeight(resultWeight);
    const before = weight.tensor.dims[channelAxis] ?? 0;
    const after = tensor.dims[channelAxis] ?? 0;
    const sameRank = weight.tensor.dims.length === tensor.dims.length && packed === undefined;
    const difference = new Difference();
    if (sameWeights && weight.tensor.dims.join() === tensor.dims.join()) {
      const [x, y] = [scaled(dequantized(weight), this.pair), dequantized(resultWeight)];
      if (x !== undefined && y !== undefined) difference.add(x, y);
    }
    return {
      shape: [...tensor.dims],
      type: tensor.dataType,
      bits: packed?.bits ?? DATA_TYPES[tensor.dataType].bits,
      sparsity: count.zeros === undefined || count.elements === 0 ? 0 : count.zeros / count.elements,
      ...(difference.elements === 0 ? {} : { sqnrDb: difference.sqnrDb }),
      ...(count.saturated === undefined ? {} : { saturatedShare: count.saturated / count.elements }),
      ...(sameRank && after < before ? { removedChannels: before - after } : {}),
    };
  }

  #activations(): LayerReport['activations'] {
    if (this.#values === 0) return undefined;
    const quantized = this.pair.counterpart?.quantized;
    const range = this.#min <= this.#max && Number.isFinite(this.#min) && Number.isFinite(this.#max);
    return {
      type: quantized?.type ?? 'float',
      bits: quantized?.bits ?? 32,
      ...(range ? { range: { min: this.#min, max: this.#max } } : {}),
      ...(quantized === undefined
        ? {}
        : {
            quantizedRange: { min: quantized.low, max: quantized.high },
            saturatedShare: this.#clipped / this.#values,
          }),
    };
  }
}

async function runGroup(
  { runtime, models, feeds }: Compared,
  group: readonly LayerState[],
  options: PerLayerOptions & { readonly budgetMs: number },
): Promise<void> {
  const baselineNames = [...new Set(group.map(({ pair }) => pair.output))];
  const resultNames = [
    ...new Set(group.flatMap(({ pair }) => (pair.counterpart === undefined ? [] : [pair.counterpart.name]))),
  ];
  const sessionOptions = { threads: options.threads, optimization: 'disabled' } as const;
  const sessions: Session[] = [];
  try {
    const baseline = await runtime.createSession(withOutputs(models.baseline, baselineNames), sessionOptions);
    sessions.push(baseline);
    const result = await runtime.createSession(withOutputs(models.result, resultNames), sessionOptions);
    sessions.push(result);
    const start = performance.now();
    let samples = 0;
    for await (const batch of feeds.batches(1)) {
      throwIfAborted(options.signal);
      const before = await baseline.run(batch.feeds, baselineNames);
      const after = await result.run(batch.feeds, resultNames);
      for (const state of group) state.add(before, after);
      samples += batch.count;
      if (samples >= (options.maxSamples ?? 16) || performance.now() - start > options.budgetMs) break;
    }
  } finally {
    for (const session of sessions) await session.release();
  }
}

/** Weights with each output channel multiplied by what a folded normalization made of it; as they are without one. */
function scaled(values: ArrayLike<number> | undefined, pair: LayerPair): ArrayLike<number> | undefined {
  const { channelFactors, channelAxis, weight } = pair;
  if (values === undefined || channelFactors === undefined || weight === undefined) return values;
  const { dims } = weight.tensor;
  const channels = dims[channelAxis] ?? 1;
  if (channels !== channelFactors.length) return undefined;
  let inner = 1;
  for (const dim of dims.slice(channelAxis + 1)) inner *= dim;
  const products = new Float64Array(values.length);
  for (let i = 0; i < products.length; i += 1) {
    products[i] = (values[i] ?? NaN) * (channelFactors[Math.floor(i / inner) % channels] ?? NaN);
  }
  return products;
}
