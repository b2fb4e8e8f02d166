import { describeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { Skipped } from '../pass.ts';
import type { Scope } from './scope.ts';

/**
 * Turns Constant nodes into initializers of the same name. One whose output is an output of its graph stays, because
 * not every reader of ONNX accepts an initializer as a graph output; a sparse one stays, because it has no dense form
 * here.
 */
export function liftConstants({ graph }: Scope, skipped: Skipped[]): number {
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const before = graph.nodes.length;
  graph.nodes = graph.nodes.filter((node) => {
    const [name] = node.outputs;
    if (node.opType !== 'Constant' || node.domain !== '' || name === undefined || outputs.has(name)) return true;
    const tensor = constantTensor(node, name);
    if (tensor === undefined) {
      skipped.push({ node: describeNode(node), reason: 'its value is sparse: it stays a Constant node' });
      return true;
    }
    graph.initializers.set(name, tensor);
    graph.valueInfos.delete(name);
    return false;
  });
  return before - graph.nodes.length;
}

/** The value of a Constant node, under the given name; undefined for a sparse value. */
function constantTensor(node: Node, name: string): Tensor | undefined {
  for (const [key, attribute] of node.attributes) {
    switch (attribute.kind) {
      case 'tensor':
        return attribute.value.renamed(name);
      case 'float':
        return Tensor.float(name, [attribute.value], []);
      case 'floats':
        return Tensor.float(name, attribute.value);
      case 'int':
        return Tensor.fromArray(name, { type: 'int64', dims: [], data: BigInt64Array.of(attribute.value) });
      case 'ints':
        return Tensor.fromArray(name, {
          type: 'int64',
          dims: [attribute.value.length],
          data: BigInt64Array.from(attribute.value),
        });
      case 'string':
        if (key !== 'value_string') break;
        return new Tensor({
          name,
          dataType: 'string',
          dims: [],
          storage: { kind: 'strings', values: [attribute.value] },
        });
      case 'strings':
        return new Tensor({
          name,
          dataType: 'string',
          dims: [attribute.value.length],
          storage: { kind: 'strings', values: attribute.value },
        });
      default:
        break;
    }
  }
  return undefined;
}
