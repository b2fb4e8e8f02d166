import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { Names } from './scope.ts';

/** y[:, c] = scale[c] * x[:, c] + shift[c]; both of length C. */
export interface ChannelAffine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/**
 * What an inference-mode BatchNormalization computes: scale = gamma / sqrt(var + epsilon), shift = beta - mean * scale.
 *
 * @returns the two vectors, or why the node cannot be seen that way
 * @see Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 2
 */
export function channelAffine(node: Node, names: Names): ChannelAffine | string {
  if (node.int('training_mode', 0) !== 0)
    return 'it is in training mode: it normalizes with the statistics of the batch';
  if (node.int('spatial', 1) !== 1) return 'spatial = 0: it normalizes each position by itself';
  if (node.outputs.slice(1).some((name) => name !== '')) return 'its running statistics are used';
  const parameters: Float64Array[] = [];
  for (const index of [1, 2, 3, 4]) {
    const tensor = names.constant(node.inputs[index]);
    if (tensor === undefined) return `its input ${index} ("${node.inputs[index] ?? ''}") is not a constant`;
    const values = float64Of(tensor);
    if (values === undefined) return `its input ${index} is ${tensor.dataType}; float and double can be folded`;
    parameters.push(values);
  }
  const [gamma, beta, mean, variance] = parameters;
  if (gamma === undefined || beta === undefined || mean === undefined || variance === undefined)
    return 'inputs are missing';
  const channels = gamma.length;
  if (parameters.some((values) => values.length !== channels)) return 'its parameters differ in length';
  const epsilon = node.float('epsilon', 1e-5);
  const scale = new Float64Array(channels);
  const shift = new Float64Array(channels);
  for (let c = 0; c < channels; c += 1) {
    const a = (gamma[c] ?? 0) / Math.sqrt((variance[c] ?? 0) + epsilon);
    scale[c] = a;
    shift[c] = (beta[c] ?? 0) - (mean[c] ?? 0) * a;
    if (!Number.isFinite(scale[c]) || !Number.isFinite(shift[c])) return `channel ${c} has no finite scale and shift`;
  }
  return { scale, shift };
}

/** The values in float64; undefined unless the tensor is float or double. A copy. */
export function float64Of(tensor: Tensor): Float64Array | undefined {
  if (tensor.dataType !== 'float' && tensor.dataType !== 'double') return undefined;
  const { data } = tensor.toArray();
  return data instanceof Float32Array || data instanceof Float64Array ? Float64Array.from(data) : undefined;
}
