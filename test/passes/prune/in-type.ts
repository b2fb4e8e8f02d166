import { numberToFloat16 } from '../../../src/data/half-float.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';

const CODE = { float16: 10, double: 11 } as const;

/**
 * The same network with weights and arithmetic in another type, between Casts at its float inputs and outputs, as converters
 * write it. Changes the model.
 */
export function inType(model: Model, type: 'float16' | 'double'): Model {
  const { graph } = model;
  for (const [name, tensor] of graph.initializers) {
    if (tensor.dataType !== 'float') continue;
    const { dims } = tensor;
    const data =
      type === 'double' ? Float64Array.from(tensor.floats()) : Uint16Array.from(tensor.floats(), numberToFloat16);
    graph.initializers.set(name, Tensor.fromArray(name, { type, dims, data }));
  }
  for (const { name } of graph.inputs) {
    for (const node of graph.nodes)
      node.inputs.forEach((input, i) => (node.inputs[i] = input === name ? `${name}_cast` : input));
    graph.nodes.unshift(makeNode('Cast', [name], [`${name}_cast`], { attributes: { to: CODE[type] } }));
  }
  for (const { name } of graph.outputs) {
    for (const node of graph.nodes) {
      node.inputs.forEach((input, i) => (node.inputs[i] = input === name ? `${name}_own` : input));
      node.outputs.forEach((output, i) => (node.outputs[i] = output === name ? `${name}_own` : output));
    }
    graph.nodes.push(makeNode('Cast', [`${name}_own`], [name], { attributes: { to: 1 } }));
  }
  graph.valueInfos.clear();
  return model;
}
