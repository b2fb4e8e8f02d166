import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import { encodeModel } from '../../onnx/codec/encode.ts';
import { macsOf } from '../../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../../onnx/cost/types-for-cost.ts';
import type { Model } from '../../onnx/model.ts';
import { countWeightElements } from '../../onnx/print/summarize-model.ts';
import type { Dimension, Point } from '../../search/space.ts';
import { networkWithoutWeights, type ArchitectureRequest } from '../../zoo/build-architecture.ts';
import { estimateFloatNs } from '../cost/float-latency.ts';
import type { KernelCostTable } from '../cost/kernel-cost-table.ts';
import type { Figures } from './goals.ts';
import { dimensionsOf, substitute, templateProblem } from './ranges.ts';

const Template = z.looseObject({ architecture: z.string() });
type Template = z.infer<typeof Template>;

/** Where it is not given, the network is made for the inputs and outputs of the job's model. */
export const NetworkSpace = z
  .union([Template, z.array(Template).min(1).max(16)])
  .superRefine((space, context) => {
    const problem = templateProblem(space, () => networkDimensions(space), { layers: false });
    if (problem !== undefined) context.addIssue({ ...problem });
  })
  .default({
    architecture: 'resnet',
    depth: { search: [8, 14, 20] },
    width: { search: { min: 0.25, max: 1, step: 0.25 } },
  })
  .describe(
    'A network of the zoo, or a list of them, with { "search": [a, b, …] } or { "search": { "min", "max", "step", "log" } } in the place of options. Sizes of input and output are those of the job\'s model unless given',
  );
export type NetworkSpace = z.infer<typeof NetworkSpace>;

/** A list of templates becomes a choice among them; the dimensions of those not chosen say nothing. */
export function networkDimensions(space: NetworkSpace): Dimension[] {
  if (!Array.isArray(space)) return dimensionsOf(space);
  const families = space.map((_, index) => index);
  const choice = { name: 'family', type: 'choice' as const, values: families.map((index) => nameOf(space, index)) };
  const own = (template: Template, index: number): Dimension[] => {
    const name = nameOf(space, index);
    return dimensionsOf(template, name).map((dimension) => ({
      ...dimension,
      when: { dimension: choice.name, value: name },
    }));
  };
  return [choice, ...space.flatMap(own)];
}

function nameOf(space: readonly Template[], index: number): string {
  const name = space[index]?.architecture ?? '';
  return space.filter(({ architecture }) => architecture === name).length > 1 ? `${name}-${index}` : name;
}

/** @param given - options where the space gives none */
export function requestOf(space: NetworkSpace, given: Record<string, unknown>, point: Point): ArchitectureRequest {
  if (!Array.isArray(space)) return { ...given, ...(substitute(space, point) as ArchitectureRequest) };
  const index = space.findIndex((_, place) => nameOf(space, place) === point['family']);
  const chosen = substitute(space[index], point, nameOf(space, index)) as ArchitectureRequest;
  return { ...given, ...chosen };
}

/** The network with zeros for weights, or why there is none. */
export function networkOrReason(request: ArchitectureRequest): Model | string {
  try {
    return networkWithoutWeights(request);
  } catch (error) {
    if (!(error instanceof CompressionError)) throw error;
    return error.message;
  }
}

/** All that is known of a network without running it. O(its bytes): for those that are not known to be beyond the limits. */
export function sizesOf(network: Model, costTable: KernelCostTable) {
  const { macs, parameters, latencyEstimateMs } = figuresAhead(network, costTable);
  return {
    bytes: encodeModel(network).length,
    bops: macsOf(network, typesAtBatchOne(network)).bitOperations,
    ...(parameters === undefined ? {} : { parameters }),
    ...(macs === undefined ? {} : { macs }),
    ...(latencyEstimateMs === undefined ? {} : { latencyEstimateMs }),
  };
}

/** What is known of a network without training it. */
export function figuresAhead(network: Model, costTable: KernelCostTable): Figures {
  const estimate = estimateFloatNs(costTable, network);
  return {
    macs: macsOf(network, typesAtBatchOne(network)).total,
    parameters: countWeightElements(network),
    ...(estimate === undefined ? {} : { latencyEstimateMs: estimate / 1e6 }),
  };
}
