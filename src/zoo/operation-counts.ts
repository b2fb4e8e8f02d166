import { macsOf } from '../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../onnx/cost/types-for-cost.ts';
import type { TypeTable } from '../onnx/inference/type-table.ts';
import type { Model } from '../onnx/model.ts';
import { elementCount } from '../onnx/nd-array.ts';
import type { Shape } from '../onnx/value-type.ts';
import { isAdder } from './adder2d.ts';

export interface OperationCounts {
  readonly multiplications: number;
  readonly additions: number;
  /** Pairs whose distance adder layers take: two additions each, no multiplication. */
  readonly adderOperations: number;
}

/**
 * Multiplications and additions of one sample apart. A multiply-accumulate is one of each; an adder layer subtracts and
 * accumulates: two additions. What `macsOf` does not count is not counted here.
 *
 * @param types - at batch 1, as `macsOf` takes them
 * @param macs - what `macsOf` counted with these types
 * @see Chen et al., "AdderNet", CVPR 2020, table 1, for the convention
 */
export function operationCounts(
  model: Model,
  types: TypeTable = typesAtBatchOne(model),
  macs: number = macsOf(model, types).total,
): OperationCounts {
  let adderOperations = 0;
  for (const node of model.graph.nodes) {
    if (!isAdder(node)) continue;
    const output = sizes(types.shape(model.graph, node.outputs[0] ?? ''));
    const filters = sizes(types.shape(model.graph, node.inputs[1] ?? ''));
    adderOperations += elementCount(output) * elementCount(filters.slice(1));
  }
  return { multiplications: macs, additions: macs + 2 * adderOperations, adderOperations };
}

/** NaN where a size is not known: then the count is not known either. */
function sizes(shape: Shape | undefined): number[] {
  return shape?.map((size) => (typeof size === 'number' ? size : NaN)) ?? [NaN];
}
