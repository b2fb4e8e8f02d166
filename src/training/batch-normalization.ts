import { CompressionError } from '../errors.ts';
import type { GraphBuilder } from '../onnx/graph-builder.ts';
import { describeNode, makeNode, type Node } from '../onnx/node.ts';
import { elementCount } from '../onnx/nd-array.ts';
import { Tensor } from '../onnx/tensor.ts';

/** Kept share of the old running statistics where a node does not say (ONNX's default; PyTorch's momentum 0.1). */
const DEFAULT_MOMENTUM = 0.9;
const DEFAULT_EPSILON = 1e-5;

export interface TrainingNormalization {
  /** The node in training form. With momentum 0 its outputs 1 and 2 are the batch's mean and (biased) variance exactly. */
  readonly node: Node;
  readonly batchMean: string;
  readonly batchVariance: string;
}

/**
 * The node with statistics of the batch instead of the running ones. `node` is not changed.
 *
 * ONNX Runtime's kernel writes the batch's statistics into the memory of the running ones it reads (outputs 1 and 2 alias
 * inputs 3 and 4). So it gets vectors of its own to overwrite, which momentum 0 makes meaningless; with the real ones,
 * the update of the running statistics would read what the kernel had overwritten.
 *
 * @param channels - of the node's input
 * @param index - of the node among the normalizations: no two get vectors of equal values, which could be merged
 */
export function inTrainingMode(b: GraphBuilder, node: Node, channels: number, index: number): TrainingNormalization {
  const [output = ''] = node.outputs;
  const label = node.name === '' ? output : node.name;
  const batchMean = b.fresh(`${label}_batch_mean`);
  const batchVariance = b.fresh(`${label}_batch_variance`);
  const epsilon = node.float('epsilon', DEFAULT_EPSILON);
  const overwritten = [1, 2].map((offset) => {
    const values = new Float32Array(channels).fill(2 * index + offset);
    return b.initializer(Tensor.float(`${label}_overwritten`, values));
  });
  return {
    node: makeNode(
      'BatchNormalization',
      [...node.inputs.slice(0, 3), ...overwritten],
      [output, batchMean, batchVariance],
      {
        name: node.name,
        attributes: { epsilon: { float: epsilon }, momentum: { float: 0 }, training_mode: 1 },
      },
    ),
    batchMean,
    batchVariance,
  };
}

/**
 * Writes a BatchNormalization in inference mode into the convolution before it: conv(X, W s) + (B - mean s), s = S / sqrt(var + eps),
 * with s a part of the graph, so that W, S and B are trained as before. Saves a pass over the activations in either
 * direction, and a rounding: folded, ResNet-20's activations are nearer to those of float64.
 *
 * The convolution stays for whoever else reads it. Nodes that make the weights are appended to `b`.
 *
 * @returns the convolution in the place of `node`; undefined where none is before it, or weights are no initializers
 */
export function foldedIntoConvolution(
  b: GraphBuilder,
  node: Node,
  producers: ReadonlyMap<string, Node>,
): Node | undefined {
  const [input = '', scale = '', bias = '', mean = '', variance = ''] = node.inputs;
  const convolution = producers.get(input);
  if (convolution?.opType !== 'Conv' || convolution.domain !== '') return undefined;
  const [x = '', weight = '', offset = ''] = convolution.inputs;
  const { initializers } = b.graph;
  if (![weight, scale, bias, mean, variance].every((name) => initializers.get(name)?.dataType === 'float'))
    return undefined;
  const channels = initializers.get(weight)?.dims ?? [];
  const deviation = b.op('Sqrt', [b.op('Add', [variance, b.float('epsilon', node.float('epsilon', DEFAULT_EPSILON))])]);
  const slope = b.op('Div', [scale, deviation]);
  const perFilter = b.op('Reshape', [
    slope,
    b.ints(
      'per_filter',
      channels.map((size, axis) => (axis === 0 ? size : 1)),
    ),
  ]);
  const centre = offset === '' ? mean : b.op('Sub', [mean, offset]);
  const inputs = [x, b.op('Mul', [weight, perFilter]), b.op('Sub', [bias, b.op('Mul', [centre, slope])])];
  const folded = makeNode('Conv', inputs, [node.outputs[0] ?? ''], { name: b.fresh(`${convolution.name}_folded`) });
  for (const [name, attribute] of convolution.attributes) folded.attributes.set(name, attribute);
  return folded;
}

/**
 * The running statistics after a batch, as PyTorch has them: m r + (1 - m) batch, the batch's variance unbiased
 * (times n / (n - 1)) although the normalization itself uses the biased one.
 *
 * @param inputShape - [batch, channels, ...]
 * @throws CompressionError DATASET_TOO_SMALL when there is one value a channel: it has no variance
 */
export function runningStatistics(
  b: GraphBuilder,
  original: Node,
  { batchMean, batchVariance }: TrainingNormalization,
  inputShape: readonly number[],
): { readonly mean: string; readonly variance: string } {
  const [batch = 1, , ...spatial] = inputShape;
  const count = batch * elementCount(spatial);
  if (count < 2) {
    throw new CompressionError(
      'DATASET_TOO_SMALL',
      `${describeNode(original)} sees ${count} value a channel in a batch of ${batch}, so its variance is 0; use a larger batchSize, or freeze BatchNormalization`,
    );
  }
  const kept = original.float('momentum', DEFAULT_MOMENTUM);
  const [, , , mean = '', variance = ''] = original.inputs;
  const blend = (running: string, current: string, share: number): string =>
    b.op('Add', [
      b.op('Mul', [running, b.float('kept_share', kept)]),
      b.op('Mul', [current, b.float('batch_share', share)]),
    ]);
  return {
    mean: blend(mean, batchMean, 1 - kept),
    variance: blend(variance, batchVariance, ((1 - kept) * count) / (count - 1)),
  };
}
