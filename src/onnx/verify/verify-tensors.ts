import { CompressionError } from '../../errors.ts';
import { byteLengthOf } from '../data-type.ts';
import { withSubgraphs, type Graph } from '../graph.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import type { Tensor } from '../tensor.ts';
import { quoteName, quoteNode } from './quote.ts';

/**
 * Checks that each tensor (initializers, attributes) has valid dims and exactly the bytes that they need.
 * @throws CompressionError MODEL_INVALID naming the tensor
 */
export function verifyTensors(model: Model): void {
  for (const graph of withSubgraphs(model.graph)) verifyGraphTensors(graph);
  for (const definition of model.functions) {
    for (const node of definition.nodes) {
      verifyAttributeTensors(node);
      for (const subgraph of node.subgraphs()) for (const graph of withSubgraphs(subgraph)) verifyGraphTensors(graph);
    }
  }
}

function verifyGraphTensors(graph: Graph): void {
  for (const [name, tensor] of graph.initializers) {
    const what = `initializer ${quoteName(name)}`;
    if (tensor.name !== name) throw invalid(`${what}: its tensor is called ${quoteName(tensor.name)}`);
    verifyTensor(tensor, what);
  }
  for (const input of graph.inputs) {
    const tensor = graph.initializers.get(input.name);
    if (tensor === undefined || input.type === undefined) continue;
    if (input.type.kind !== 'tensor' || input.type.elementType !== tensor.dataType) {
      throw invalid(
        `input ${quoteName(input.name)} is declared with another type than its initializer, ${tensor.dataType}`,
      );
    }
  }
  for (const node of graph.nodes) verifyAttributeTensors(node);
}

function verifyAttributeTensors(node: Node): void {
  for (const [name, attribute] of node.attributes) {
    const tensors =
      attribute.kind === 'tensor' ? [attribute.value] : attribute.kind === 'tensors' ? attribute.value : [];
    for (const tensor of tensors) verifyTensor(tensor, `${quoteNode(node)}, attribute ${quoteName(name)}`);
  }
}

function verifyTensor(tensor: Tensor, what: string): void {
  const { dims, dataType, storage } = tensor;
  const count = dims.reduce((product, size) => product * size, 1);
  if (dims.some((size) => !Number.isSafeInteger(size) || size < 0) || !Number.isSafeInteger(count * 16)) {
    throw invalid(`${what}: dims [${dims.join(', ')}] are not those of a tensor`);
  }
  if (storage.kind === 'strings' || dataType === 'string') {
    const got = storage.kind === 'strings' ? storage.values.length : 0;
    if (storage.kind === 'strings' && dataType === 'string' && got === count) return;
    throw invalid(`${what}: ${dataType} [${dims.join(', ')}] needs ${count} strings, it has ${got}`);
  }
  const needed = byteLengthOf(dataType, count);
  if (tensor.byteLength === needed) return;
  throw invalid(`${what}: ${dataType} [${dims.join(', ')}] needs ${needed} bytes, it has ${tensor.byteLength}`);
}

function invalid(message: string): CompressionError {
  return new CompressionError('MODEL_INVALID', message);
}
