import type { ModelResource } from '../schemas/model.ts';
import { summarize } from '../storage/model-summary.ts';
import { networkWithoutWeights, type ArchitectureRequest } from '../zoo/build-architecture.ts';

/** What planning needs to know of the model a job starts from. */
export type PlannedModel = Pick<ModelResource, 'inputs' | 'outputs' | 'bytes' | 'parameters' | 'macs'>;

/** Bytes of a float32 weight. */
const WEIGHT_BYTES = 4;

/**
 * The network an architecture will become, without its weights.
 *
 * @throws CompressionError RECIPE_INVALID with pointers under `base`, also where valid options leave no such network
 */
export function plannedNetwork(field: ArchitectureRequest, base: readonly PropertyKey[] = ['model']): PlannedModel {
  const { inputs, outputs, parameters, macs } = summarize(networkWithoutWeights(field, base));
  return { inputs, outputs, parameters, macs, bytes: parameters * WEIGHT_BYTES };
}
