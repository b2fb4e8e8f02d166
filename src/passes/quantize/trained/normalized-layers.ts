import { NameScope, producersOf, usesOf, type Graph } from '../../../onnx/graph.ts';
import type { Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { channelLayout } from '../weights.ts';
import { dropUnread } from '../scope.ts';

/** A convolution and the BatchNormalization that alone reads it, all of whose numbers are initializers. */
export interface NormalizedLayer {
  readonly convolution: Node;
  readonly normalization: Node;
}

const DEFAULT_EPSILON = 1e-5;

/** The convolutions of a graph whose normalization a training graph can fold, and a writer of codes has to. */
export function normalizedLayers(graph: Graph): NormalizedLayer[] {
  const producers = producersOf(graph);
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const overridable = new Set(graph.inputs.map(({ name }) => name));
  const isFixed = (name: string): boolean =>
    graph.initializers.get(name)?.dataType === 'float' && !overridable.has(name);
  return graph.nodes.flatMap((normalization) => {
    if (normalization.opType !== 'BatchNormalization' || normalization.domain !== '') return [];
    if (normalization.int('training_mode', 0) !== 0) return [];
    const [input = '', ...vectors] = normalization.inputs;
    const convolution = producers.get(input);
    if (convolution?.opType !== 'Conv' || convolution.domain !== '') return [];
    const [, weight = '', bias = ''] = convolution.inputs;
    const isAlone = (uses.get(input) ?? []).length === 1 && !outputs.has(input);
    const fixed = [...vectors, weight, ...(bias === '' ? [] : [bias])].every(isFixed);
    return isAlone && fixed ? [{ convolution, normalization }] : [];
  });
}

/** What a normalization does to each channel: y = slope x + offset, in float32 as a training graph computes it. */
export interface ChannelAffine {
  readonly slope: Float32Array;
  readonly offset: Float32Array;
}

export function affineOf(graph: Graph, { convolution, normalization }: NormalizedLayer): ChannelAffine {
  const floats = (name = ''): Float32Array => graph.initializers.get(name)?.floats() ?? new Float32Array(0);
  const [, scale, bias, mean, variance] = normalization.inputs.map(floats);
  const convolutionBias = floats(convolution.inputs[2]);
  const epsilon = Math.fround(normalization.float('epsilon', DEFAULT_EPSILON));
  const channels = scale?.length ?? 0;
  const slope = new Float32Array(channels);
  const offset = new Float32Array(channels);
  for (let c = 0; c < channels; c += 1) {
    const deviation = Math.fround(Math.sqrt(Math.fround((variance?.[c] ?? 0) + epsilon)));
    slope[c] = (scale?.[c] ?? 0) / deviation;
    const centre = Math.fround((mean?.[c] ?? 0) - (convolutionBias[c] ?? 0));
    offset[c] = (bias?.[c] ?? 0) - Math.fround(centre * (slope[c] ?? 0));
  }
  return { slope, offset };
}

/** Weights [M, ...] times a factor for each of the M filters, in float32. */
export function scaledFilters({ dims, values }: Weights, slope: Float32Array): Float32Array {
  const { inner } = channelLayout(dims, 0);
  return values.map((value, i) => value * (slope[Math.floor(i / inner)] ?? 1));
}

interface Weights {
  readonly dims: readonly number[];
  readonly values: Float32Array;
}

/**
 * Folds the normalizations into their convolutions: filters times slope, offset as bias. The value behind each keeps its
 * name.
 */
export function foldLayers(graph: Graph, layers: readonly NormalizedLayer[]): void {
  const names = new NameScope(graph);
  const replaced = new Set<string>();
  for (const layer of layers) {
    const { convolution, normalization } = layer;
    const [x = '', weight = '', bias = ''] = convolution.inputs;
    const { slope, offset } = affineOf(graph, layer);
    const tensor = graph.initializers.get(weight);
    if (tensor === undefined) continue;
    const folded = names.fresh(`${weight}_folded`);
    const shift = names.fresh(`${weight}_bias`);
    graph.initializers.set(
      folded,
      Tensor.float(folded, scaledFilters({ dims: tensor.dims, values: tensor.floats() }, slope), tensor.dims),
    );
    graph.initializers.set(shift, Tensor.float(shift, offset));
    for (const name of [weight, bias, ...normalization.inputs.slice(1)]) replaced.add(name);
    convolution.inputs = [x, folded, shift];
    convolution.outputs = [...normalization.outputs.slice(0, 1)];
  }
  const gone = new Set(layers.map(({ normalization }) => normalization));
  graph.nodes = graph.nodes.filter((node) => !gone.has(node));
  dropUnread(graph, replaced);
}

/**
 * Turns filters around whose normalization has a negative scale, so that every slope is positive; the function stays. A filter that
 * several nodes read is left as it is.
 *
 * @param smallest - what a scale of 0 becomes: a channel that is off could never come back, and has no grid
 * @returns filters turned or scales raised
 */
export function makeSlopesPositive(graph: Graph, layers: readonly NormalizedLayer[], smallest: number): number {
  const uses = usesOf(graph);
  let changes = 0;
  for (const { convolution, normalization } of layers) {
    const [, weight = '', bias = ''] = convolution.inputs;
    const [, scale = '', , mean = ''] = normalization.inputs;
    const own = [weight, scale, mean, ...(bias === '' ? [] : [bias])];
    if (!own.every((name) => uses.get(name)?.length === 1)) continue;
    const scales = graph.initializers.get(scale)?.floats() ?? new Float32Array(0);
    if (scales.every((value) => value >= smallest)) continue;
    for (const name of own) {
      const tensor = graph.initializers.get(name);
      if (tensor === undefined) continue;
      const inner = channelLayout(tensor.dims, 0).inner;
      const values = tensor.floats().map((value, i) => {
        const isTurned = (scales[Math.floor(i / inner)] ?? 0) < 0;
        return isTurned ? -value : value;
      });
      if (name === scale) values.forEach((value, i) => (values[i] = Math.max(value, smallest)));
      graph.initializers.set(name, Tensor.float(name, values, tensor.dims));
    }
    changes += scales.reduce((count, value) => count + (value < smallest ? 1 : 0), 0);
  }
  return changes;
}
