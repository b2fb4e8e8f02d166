import { CompressionError, defined } from '../../errors.ts';
import { Graph } from '../../onnx/graph.ts';
import { GraphBuilder } from '../../onnx/graph-builder.ts';
import { Model } from '../../onnx/model.ts';
import { elementCount, type NdArray } from '../../onnx/nd-array.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { tensorValue } from '../../onnx/value-type.ts';
import type { FeedSource, PassContext } from '../pass.ts';
import { fanIn, type DenseLayer } from './layers.ts';

/** What the rows of a layer's matrix meet: the input patch under the filter, channels first, then the kernel's axes. */
export interface InputMoments {
  /** [fan-in]. */
  readonly mean: Float64Array;
  /** [fan-in, fan-in]: E[x x^T] - mean mean^T. */
  readonly covariance: Float64Array;
}

/** Both in memory at once, in float64 and as ONNX Runtime hands them out. */
const BYTES_PER_RUN = 512 * 2 ** 20;
const BYTES_PER_ELEMENT = 8 + 4;
/** A covariance larger than this is not collected: the layer is factored by its weights alone. */
export const MAX_FAN_IN = 4608;
const MAX_BATCH = 16;

/**
 * Runs the calibration data through the model and gathers mean and covariance of each layer's inputs, borders of zeros
 * included. The products are made inside the graph, in float32 a batch, and added up in float64. Layers are taken in groups that
 * fit into half a gigabyte; each group is one pass over the data.
 *
 * @throws CompressionError MODEL_RUN, DATASET_EMPTY; AbortError when canceled
 */
export async function inputMoments(
  model: Model,
  layers: readonly DenseLayer[],
  feeds: FeedSource,
  context: Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'progress'>,
): Promise<Map<DenseLayer, InputMoments>> {
  const result = new Map<DenseLayer, InputMoments>();
  const groups = groupsOf(layers.filter((layer) => fanIn(layer) <= MAX_FAN_IN));
  for (const [index, group] of groups.entries()) {
    const progress = (fraction: number): void =>
      context.progress((index + fraction) / groups.length, 'measuring the inputs of the layers');
    const run = await collect(model, group, feeds, { ...context, progress });
    for (const [layer, moments] of run) result.set(layer, moments);
  }
  return result;
}

function groupsOf(layers: readonly DenseLayer[]): DenseLayer[][] {
  const groups: DenseLayer[][] = [];
  let bytes = Infinity;
  for (const layer of layers) {
    const own = fanIn(layer) ** 2 * BYTES_PER_ELEMENT;
    if (bytes + own > BYTES_PER_RUN) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(layer);
    bytes += own;
  }
  return groups;
}

interface Probe {
  readonly layer: DenseLayer;
  readonly gram: string;
  readonly sum: string;
  readonly shape: string;
  readonly gramSum: Float64Array;
  readonly total: Float64Array;
  count: number;
}

async function collect(
  model: Model,
  layers: readonly DenseLayer[],
  feeds: FeedSource,
  context: Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'progress'>,
): Promise<Map<DenseLayer, InputMoments>> {
  const { probing, probes } = withProbes(model, layers);
  const fetch = probes.flatMap(({ gram, sum, shape }) => [gram, sum, shape]);
  const session = await context.runtime.createSession(probing, { threads: context.threads });
  let samples = 0;
  try {
    for await (const batch of feeds.batches(fixedBatch(model) ?? MAX_BATCH)) {
      context.signal.throwIfAborted();
      const values = await session.run(batch.feeds, fetch);
      for (const probe of probes) add(probe, (name) => defined(values.get(name), name));
      samples += batch.count;
      context.progress(Math.min(samples / Math.max(feeds.samples, 1), 1));
    }
  } finally {
    await session.release();
  }
  if (samples === 0) {
    throw new CompressionError('DATASET_EMPTY', 'the calibration data set gave no sample; name one with samples');
  }
  return new Map(probes.map((probe) => [probe.layer, momentsOf(probe)]));
}

function fixedBatch(model: Model): number | undefined {
  const input = model.graph.inputs.find(({ name }) => !model.graph.initializers.has(name));
  const size = input?.type?.kind === 'tensor' ? input.type.shape?.[0] : undefined;
  return typeof size === 'number' ? size : undefined;
}

function add(probe: Probe, valueOf: (name: string) => NdArray): void {
  const gram = valueOf(probe.gram).data;
  const sum = valueOf(probe.sum).data;
  const size = probe.gramSum.length;
  for (let i = 0; i < size; i += 1) probe.gramSum[i] = (probe.gramSum[i] ?? 0) + Number(gram[i]);
  for (let i = 0; i < probe.total.length; i += 1) probe.total[i] = (probe.total[i] ?? 0) + Number(sum[i]);
  probe.count += Number(valueOf(probe.shape).data[probe.layer.kind === 'Conv' ? 1 : 0]);
}

function momentsOf({ layer, gramSum, total, count }: Probe): InputMoments {
  const size = total.length;
  const mean = total.map((value) => value / count);
  const covariance = gramSum;
  for (let i = 0; i < size; i += 1) {
    const own = mean[i] ?? 0;
    for (let j = 0; j < size; j += 1) {
      const at = i * size + j;
      const value = (covariance[at] ?? 0) / count - own * (mean[j] ?? 0);
      if (!Number.isFinite(value)) {
        throw new CompressionError(
          'MODEL_RUN',
          `the inputs of "${layer.label}" are not finite on the calibration data; check the model and the preprocessing, or exclude the layer`,
        );
      }
      covariance[at] = value;
    }
  }
  return { mean, covariance };
}

/** The model with, beside each layer, the sums over its input patches. */
function withProbes(model: Model, layers: readonly DenseLayer[]): { probing: Model; probes: Probe[] } {
  const { graph } = model;
  const copy = Object.assign(new Graph({ name: graph.name }), graph, {
    nodes: [...graph.nodes],
    initializers: new Map(graph.initializers),
    outputs: [...graph.outputs],
  });
  const b = new GraphBuilder(copy);
  const probes = layers.map((layer): Probe => {
    const patches = layer.kind === 'Conv' ? convolutionPatches(b, layer) : productRows(b, layer);
    // Patches of a convolution stand in columns, those of a product in rows.
    const byColumn = layer.kind === 'Conv';
    const gram = b.op('Gemm', [patches, patches], { attributes: byColumn ? { transB: 1 } : { transA: 1 } });
    const sum = b.op('ReduceSum', [patches, b.ints('axes', [byColumn ? 1 : 0])], { attributes: { keepdims: 0 } });
    const shape = b.op('Shape', [patches]);
    const size = fanIn(layer);
    copy.outputs.push(tensorValue(gram, 'float', [size, size]), tensorValue(sum, 'float', [size]));
    copy.outputs.push(tensorValue(shape, 'int64', [2]));
    return {
      layer,
      gram,
      sum,
      shape,
      gramSum: new Float64Array(size * size),
      total: new Float64Array(size),
      count: 0,
    };
  });
  const probing = Object.assign(new Model({ graph: copy, opsetImports: model.opsetImports }), model, { graph: copy });
  return { probing, probes };
}

function productRows(b: GraphBuilder, { node, inputs }: DenseLayer): string {
  return b.op('Reshape', [node.inputs[0] ?? '', b.ints('rows', [-1, inputs])]);
}

/** [fan-in, places]: a depthwise convolution whose filters each copy one element of the patch. */
function convolutionPatches(b: GraphBuilder, { node, inputs, kernel }: DenseLayer): string {
  const size = elementCount(kernel);
  const filters = new Float32Array(inputs * size * size);
  for (let row = 0; row < inputs * size; row += 1) filters[row * size + (row % size)] = 1;
  const weight = b.initializer(Tensor.float('patch_filters', filters, [inputs * size, 1, ...kernel]));
  const attributes = Object.fromEntries(
    [...node.attributes].filter(([name]) => ['strides', 'pads', 'dilations', 'auto_pad'].includes(name)),
  );
  const patches = b.op('Conv', [node.inputs[0] ?? '', weight], { attributes: { ...attributes, group: inputs } });
  const axes = [1, 0, ...kernel.map((_, axis) => axis + 2)];
  const channelsFirst = b.op('Transpose', [patches], { attributes: { perm: axes } });
  return b.op('Reshape', [channelsFirst, b.ints('patch_matrix', [inputs * size, -1])]);
}
