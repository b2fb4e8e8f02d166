import { readersWithin, withSubgraphs, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import type { NarrowFloat } from '../../../numerics/float-formats.ts';
import type { Skipped } from '../../pass.ts';
import { filterNodes, nodeLabel, type NodeFilter } from '../node-filter.ts';

export interface FloatWeight {
  readonly tensor: Tensor;
  readonly owner: Graph;
  /** The first node that reads it. */
  readonly label: string;
}

/** What a node and its names take in a file, about: a tensor that saves less stays. */
const NODE_BYTES = 160;
/** Operators that take scales and zero points for their codes, or pack their weights, at load: from constants only. */
const TAKES_CONSTANTS = /^(DequantizeLinear|QuantizeLinear|QLinear.*|Resize|Upsample)$/;

/**
 * The float tensors that are worth storing narrower, of all graphs, and those that stay with the reason. Small ones are not listed.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob of the filter matches no node
 */
export function findFloats(
  model: Model,
  { type, filter }: { readonly type: NarrowFloat; readonly filter: NodeFilter },
): { readonly weights: readonly FloatWeight[]; readonly skipped: readonly Skipped[] } {
  const nodes: Node[] = [];
  for (const graph of withSubgraphs(model.graph)) nodes.push(...graph.nodes);
  const kept = filterNodes(nodes, filter);
  const weights: FloatWeight[] = [];
  const skipped: Skipped[] = [];
  for (const owner of withSubgraphs(model.graph)) {
    const readers = readersWithin(owner);
    const fixed = new Set<string>(owner.inputs.map(({ name }) => name));
    for (const graph of withSubgraphs(owner)) for (const { name } of graph.outputs) fixed.add(name);
    for (const [name, tensor] of owner.initializers) {
      const own = readers.get(name) ?? [];
      const [first] = own;
      const saved = type === 'float8e4m3fn' ? 0.75 : 0.5;
      if (tensor.dataType !== 'float' || first === undefined || tensor.byteLength * saved < NODE_BYTES) continue;
      const label = nodeLabel(first);
      const foreign = own.find((node) => node.domain !== '' || TAKES_CONSTANTS.test(node.opType));
      const reason = fixed.has(name)
        ? 'is an input or output of a graph'
        : !own.every((node) => kept.has(node))
          ? 'is excluded by the recipe'
          : foreign !== undefined
            ? `is read by ${foreign.opType}, which takes float constants`
            : type === 'float8e4m3fn' && tensor.dims.length < 2
              ? 'is a vector: 3 bits of fraction are for matrices and kernels'
              : undefined;
      if (reason === undefined) weights.push({ tensor, owner, label });
      else skipped.push({ node: label, reason: `weight "${name}" ${reason}` });
    }
  }
  return { weights, skipped };
}
