import type { ModelResource } from '../schemas/model.ts';
import { typesAtBatchOne } from '../onnx/cost/types-for-cost.ts';
import type { TypeTable } from '../onnx/inference/type-table.ts';
import type { Model } from '../onnx/model.ts';
import { elementCount } from '../onnx/nd-array.ts';
import { operationCounts } from '../zoo/operation-counts.ts';
import { summarize } from '../storage/model-summary.ts';
import { networkWithoutWeights, type ArchitectureRequest } from '../zoo/build-architecture.ts';

/** What planning needs to know of the model a job starts from. */
export type PlannedModel = Pick<ModelResource, 'inputs' | 'outputs' | 'bytes' | 'parameters' | 'macs'> & {
  /** Values that all layers give for one sample; known where the graph is at hand. */
  readonly activations?: number;
  /** Distances that adder layers take for one sample. */
  readonly adderOperations?: number;
};

/** Bytes of a float32 weight. */
const WEIGHT_BYTES = 4;

/**
 * The network an architecture will become, without its weights.
 *
 * @throws CompressionError RECIPE_INVALID with pointers under `base`, also where valid options leave no such network
 */
export function plannedNetwork(field: ArchitectureRequest, base: readonly PropertyKey[] = ['model']): PlannedModel {
  const network = networkWithoutWeights(field, base);
  const { inputs, outputs, parameters, macs } = summarize(network);
  const types = typesAtBatchOne(network);
  return {
    inputs,
    outputs,
    parameters,
    macs,
    bytes: parameters * WEIGHT_BYTES,
    activations: activationsOf(network, types),
    adderOperations: operationCounts(network, types, macs ?? 0).adderOperations,
  };
}

function activationsOf({ graph }: Model, types: TypeTable): number {
  let sum = 0;
  for (const { outputs } of graph.nodes) {
    const shape = types.shape(graph, outputs[0] ?? '');
    const sizes = shape?.filter((size) => typeof size === 'number');
    if (sizes !== undefined && sizes.length === shape?.length) sum += elementCount(sizes);
  }
  return sum;
}
