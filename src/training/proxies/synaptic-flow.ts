import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { differentiate } from '../differentiate.ts';
import { copyModel } from '../copy-model.ts';
import { parametersOf } from '../parameters.ts';
import { keepInRange } from './keep-in-range.ts';
import { expose, probeNetwork, runProbe, scalarOf, type ProbeContext } from './probe-network.ts';

/**
 * Synaptic flow: sum over the weights of |w dR/dw| for R = the sum of the scores of an input of ones, with the absolute values
 * of all weights and without normalization. Needs no data. Its logarithm, since R grows with every layer beyond any float: within the
 * graph values are kept near 1 by powers of two that are accounted for.
 *
 * What only lets positive values through (ReLU, ReLU6) does nothing here: all values are positive. (Implementations that keep ReLU6 see
 * it cut off everything, and score 0.)
 *
 * @param shape - of one sample, without the batch
 * @returns natural logarithm of the sum
 * @throws CompressionError MODEL_UNSUPPORTED for operators that are not homogeneous, TRAIN_NO_GRADIENT
 * @see Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020,
 * algorithm 1; as a proxy Abdelfattah et al., ICLR 2021
 */
export async function synapticFlow(model: Model, shape: readonly number[], context: ProbeContext): Promise<number> {
  const positive = withPositiveWeights(model);
  const { graph } = positive;
  const input = graph.inputs.find(({ name }) => !graph.initializers.has(name));
  if (input === undefined) throw new CompressionError('MODEL_INVALID', 'the model has no input');
  const dims = [1, ...shape];
  const network = probeNetwork(positive, { [input.name]: dims }, 'none');
  const { b, scores, layers } = network;
  const { exponent, types } = keepInRange(network);
  const seed = b.array('ones', filled(types.shape(scores)));
  const weights = layers.map(({ weight }) => weight);
  const gradients = differentiate(b, { loss: [{ of: scores, gradient: seed }], wrt: weights, types });
  const terms = [...gradients].map(([weight, gradient]) =>
    b.op('ReduceSum', [b.op('Abs', [b.op('Mul', [weight, gradient])])], { attributes: { keepdims: 0 } }),
  );
  const flow = expose(network, b.op('Sum', terms));
  const results = await runProbe(network, { [input.name]: filled(dims) }, context);
  return Math.log(scalarOf(results, flow)) + exponent * Math.LN2;
}

function withPositiveWeights(model: Model): Model {
  const copy = copyModel(model);
  const { initializers } = copy.graph;
  for (const { name, role } of parametersOf(copy)) {
    const tensor = initializers.get(name);
    if (tensor === undefined || role === 'normalization') continue;
    initializers.set(name, Tensor.float(name, tensor.floats().map(Math.abs), tensor.dims));
  }
  return copy;
}

function filled(dims: readonly number[]) {
  return {
    type: 'float',
    dims,
    data: new Float32Array(dims.reduce((product, size) => product * size, 1)).fill(1),
  } as const;
}
