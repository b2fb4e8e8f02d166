import { NameScope, usesOf } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import type { Node } from '../onnx/node.ts';
import { Tensor } from '../onnx/tensor.ts';

/**
 * Gives a node's input new float values of the same dimensions. Others that read the same initializer keep it as it is. O(nodes).
 *
 * @throws RangeError when the input is no initializer of the main graph
 */
export function replaceConstant({ graph }: Model, node: Node, input: number, values: Float32Array): void {
  const name = node.inputs[input] ?? '';
  const tensor = graph.initializers.get(name);
  if (tensor === undefined) throw new RangeError(`input ${input} ("${name}") of ${node.opType} is no initializer`);
  const isShared = (usesOf(graph).get(name)?.length ?? 0) > 1 || graph.outputs.some((output) => output.name === name);
  const target = isShared ? new NameScope(graph).fresh(name) : name;
  graph.initializers.set(target, Tensor.float(target, values, tensor.dims));
  node.inputs[input] = target;
}
