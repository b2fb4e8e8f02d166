import { Graph } from '../onnx/graph.ts';
import { Model } from '../onnx/model.ts';
import { Node } from '../onnx/node.ts';

/** A model whose graph, nodes and lists can be changed without touching the original; tensors and subgraphs are shared. */
export function copyModel(model: Model): Model {
  const { graph } = model;
  const copy = new Graph({ name: graph.name });
  Object.assign(copy, graph, {
    nodes: graph.nodes.map(copyNode),
    inputs: [...graph.inputs],
    outputs: [...graph.outputs],
    initializers: new Map(graph.initializers),
    valueInfos: new Map(graph.valueInfos),
  });
  const opsetImports = new Map(model.opsetImports);
  return Object.assign(new Model({ graph: copy, opsetImports }), model, {
    graph: copy,
    opsetImports,
    functions: [...model.functions],
  });
}

/** The same, with subgraphs of its own: for passes that rewrite those, too. */
export function copyWithSubgraphs(model: Model): Model {
  const copy = copyModel(model);
  for (const node of copy.graph.nodes) ownSubgraphs(node);
  return copy;
}

function ownSubgraphs(node: Node): void {
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === 'graph') node.attributes.set(name, { ...attribute, value: copyBranch(attribute.value) });
    if (attribute.kind === 'graphs') {
      node.attributes.set(name, { ...attribute, value: attribute.value.map((graph) => copyBranch(graph)) });
    }
  }
}

function copyBranch(graph: Graph): Graph {
  const nodes = graph.nodes.map(copyNode);
  nodes.forEach(ownSubgraphs);
  return Object.assign(new Graph({ name: graph.name }), graph, {
    nodes,
    inputs: [...graph.inputs],
    outputs: [...graph.outputs],
    initializers: new Map(graph.initializers),
    valueInfos: new Map(graph.valueInfos),
  });
}

/** A node that can be changed without touching the original; attributes' values are shared. */
export function copyNode(node: Node): Node {
  const copy = new Node({ opType: node.opType, inputs: [...node.inputs], outputs: [...node.outputs] });
  return Object.assign(copy, node, {
    inputs: copy.inputs,
    outputs: copy.outputs,
    attributes: new Map(node.attributes),
  });
}
