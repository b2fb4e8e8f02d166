import { usesOf } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import type { Tensor } from '../../onnx/tensor.ts';
import type { Skipped } from '../pass.ts';
import { nodeLabel } from '../quantize/node-filter.ts';

/** A weight tensor that a codebook can stand for, with the layers that read it. */
export interface ClusterableWeight {
  readonly tensor: Tensor;
  /** Labels of its layers. */
  readonly nodes: readonly string[];
  /** Convolutions keep more centroids than products by default. */
  readonly kind: 'conv' | 'dense';
}

/** Which inputs of which operators are weights. */
const WEIGHT_INPUTS: Readonly<Record<string, readonly number[]>> = {
  Conv: [1],
  ConvTranspose: [1],
  Gemm: [0, 1],
  MatMul: [0, 1],
};

/**
 * The float weights of convolutions and products in the main graph, in file order. A tensor counts when every node that
 * reads it is such a layer and one of `kept`.
 */
export function findWeights(
  model: Model,
  kept: ReadonlySet<Node>,
): { readonly weights: readonly ClusterableWeight[]; readonly skipped: readonly Skipped[] } {
  const { graph } = model;
  const interfaceNames = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  const uses = usesOf(graph);
  const weights: ClusterableWeight[] = [];
  const skipped: Skipped[] = [];
  for (const [name, tensor] of graph.initializers) {
    const readers = uses.get(name) ?? [];
    const asWeight = readers.filter(({ node, inputIndex }) => isWeight(node, inputIndex));
    if (asWeight.length === 0 || !asWeight.some(({ node }) => kept.has(node))) continue;
    const nodes = asWeight.map(({ node }) => nodeLabel(node));
    const reason = obstacle(tensor, {
      isShared: asWeight.length < readers.length || !asWeight.every(({ node }) => kept.has(node)),
      isInterface: interfaceNames.has(name),
    });
    if (reason !== undefined) skipped.push({ node: nodes[0] ?? name, reason });
    else {
      const isConv = asWeight.some(({ node }) => node.opType.startsWith('Conv'));
      weights.push({ tensor, nodes, kind: isConv ? 'conv' : 'dense' });
    }
  }
  return { weights, skipped };
}

function isWeight(node: Node, inputIndex: number): boolean {
  return node.domain === '' && WEIGHT_INPUTS[node.opType]?.includes(inputIndex) === true;
}

function obstacle(
  tensor: Tensor,
  { isShared, isInterface }: { readonly isShared: boolean; readonly isInterface: boolean },
): string | undefined {
  if (isInterface) return `its weight "${tensor.name}" is an input or output of the graph`;
  if (tensor.dataType !== 'float') return `its weight is ${tensor.dataType}, expected float`;
  if (isShared) return `its weight "${tensor.name}" is shared with a node that is left as it is`;
  if (!tensor.floats().every((value) => Number.isFinite(value))) return 'its weight holds values that are not finite';
  return undefined;
}
