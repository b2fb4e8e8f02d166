import { withSubgraphs } from '../graph.ts';
import type { TypeTable } from '../inference/type-table.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import { valueBytes } from './peak-activation.ts';
import { typesAtBatchOne } from './types-for-cost.ts';

export interface LargestValue {
  readonly name: string;
  readonly bytes: number;
  readonly node: Node;
}

/**
 * The largest single value that any node makes, constants included: what a few bytes of ConstantOfShape, Expand, Tile or
 * Range can ask for. Only sizes that are known without running count.
 * @returns undefined when no node makes a value of known size
 */
export function largestValue(model: Model, types: TypeTable = typesAtBatchOne(model)): LargestValue | undefined {
  let largest: LargestValue | undefined;
  for (const graph of withSubgraphs(model.graph)) {
    for (const node of graph.nodes) {
      for (const name of node.outputs) {
        const bytes = name === '' ? undefined : valueBytes(graph, name, types);
        if (bytes !== undefined && bytes > (largest?.bytes ?? -1)) largest = { name, bytes, node };
      }
    }
  }
  return largest;
}
