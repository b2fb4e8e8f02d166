import { Graph, outerNames } from '../../onnx/graph.ts';
import { Model } from '../../onnx/model.ts';
import type { Node } from '../../onnx/node.ts';
import type { ValueInfo } from '../../onnx/value-type.ts';

/**
 * What it takes to make some values, as a model of its own: only the nodes that lead to them, only the constants that these read.
 * Inputs stay. Shares nodes and tensors with the model. O(nodes).
 *
 * @param nodes - in topological order
 */
export function partModel(model: Model, nodes: readonly Node[], outputs: readonly ValueInfo[]): Model {
  const wanted = new Set(outputs.map(({ name }) => name));
  const kept: Node[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((output) => wanted.has(output))) continue;
    kept.push(node);
    for (const name of node.inputs) wanted.add(name);
    for (const subgraph of node.subgraphs()) for (const name of outerNames(subgraph)) wanted.add(name);
  }
  const read = <T>(tensors: ReadonlyMap<string, T>): Map<string, T> =>
    new Map([...tensors].filter(([name]) => wanted.has(name)));
  const graph = Object.assign(new Graph({ name: model.graph.name }), model.graph, {
    nodes: kept.toReversed(),
    outputs: [...outputs],
    initializers: read(model.graph.initializers),
    sparseInitializers: read(model.graph.sparseInitializers),
    valueInfos: new Map<string, ValueInfo>(),
  });
  // Initializers that are inputs, too, keep their entry: a caller may feed them.
  for (const { name } of graph.inputs) {
    const tensor = model.graph.initializers.get(name);
    if (tensor !== undefined) graph.initializers.set(name, tensor);
  }
  return Object.assign(new Model({ graph, opsetImports: model.opsetImports }), model, { graph });
}
