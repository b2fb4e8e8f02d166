import { operationCounts, type OperationCounts } from './operation-counts.ts';
import type { Model } from '../onnx/model.ts';

/** Inputs of BatchNormalization that hold running statistics. */
const STATISTICS_INPUTS = [3, 4] as const;

export interface NetworkCounts extends OperationCounts {
  /** Weights, biases, gammas and betas. */
  readonly parameters: number;
  /** Running means and variances of BatchNormalization, which are not learned. */
  readonly runningStatistics: number;
  /** Multiply-accumulates at batch 1 of convolutions and matrix products. */
  readonly macs: number;
}

/** Counts of a network of the zoo as it is built: float tensors with axes are parameters, scalars are constants. */
export function countNetwork(model: Model): NetworkCounts {
  const statistics = new Set<string>();
  for (const node of model.graph.nodes) {
    if (node.opType !== 'BatchNormalization') continue;
    for (const index of STATISTICS_INPUTS) statistics.add(node.inputs[index] ?? '');
  }
  let parameters = 0;
  let runningStatistics = 0;
  for (const [name, tensor] of model.graph.initializers) {
    if (tensor.dataType !== 'float' || tensor.dims.length === 0) continue;
    if (statistics.has(name)) runningStatistics += tensor.elementCount;
    else parameters += tensor.elementCount;
  }
  const operations = operationCounts(model);
  return { parameters, runningStatistics, macs: operations.multiplications, ...operations };
}
