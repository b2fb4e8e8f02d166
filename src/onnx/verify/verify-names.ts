import { CompressionError } from '../../errors.ts';
import type { Graph } from '../graph.ts';
import type { ModelFunction } from '../model.ts';
import type { Node } from '../node.ts';
import { quoteName, quoteNode } from './quote.ts';
import { topologicalOrder } from './topological-order.ts';

/**
 * Checks that each value has one definition, that it stands before its uses, and that every name that is read exists;
 * subgraphs see the values around them that are defined before their node. Subgraphs may hide outer names, as ONNX allows.
 * Recursion over subgraphs: the nesting must have been checked.
 *
 * @throws CompressionError MODEL_INVALID naming node and value
 */
export function verifyNames(graph: Graph): void {
  verifyGraph(graph, undefined, () => undefined);
}

/** The same for the body of a function, which sees its own inputs only. */
export function verifyFunctionNames(definition: ModelFunction): void {
  const where = `function ${quoteName(definition.name)}`;
  const scope = new NameScope(undefined);
  for (const name of definition.inputs) scope.define(name, `${where}: input`);
  const made = new Set(definition.nodes.flatMap((node) => node.outputs));
  const whyMissing: WhyMissing = (name) =>
    made.has(name) ? `the node of ${where} that makes it stands further down` : undefined;
  for (const node of definition.nodes) verifyNode(node, scope, whyMissing);
  for (const name of definition.outputs) {
    if (!scope.has(name)) throw invalid(`${where}: output ${quoteName(name)} is not made by any of its nodes`);
  }
}

/** Names defined so far in one graph, and the scopes around it. */
class NameScope {
  readonly #names = new Set<string>();
  readonly #outer: NameScope | undefined;

  constructor(outer: NameScope | undefined) {
    this.#outer = outer;
  }

  define(name: string, what: string): void {
    if (name === '') throw invalid(`${what} has an empty name`);
    if (this.#names.has(name)) throw invalid(`${what} ${quoteName(name)}: the name is defined more than once`);
    this.#names.add(name);
  }

  hasOwn(name: string): boolean {
    return this.#names.has(name);
  }

  has(name: string): boolean {
    return this.#names.has(name) || (this.#outer?.has(name) ?? false);
  }
}

/** Says why a name that is not defined yet is missing, when it is defined later; undefined when it is nowhere. */
type WhyMissing = (name: string) => string | undefined;

function verifyGraph(graph: Graph, outer: NameScope | undefined, outerReason: WhyMissing): void {
  const scope = new NameScope(outer);
  for (const input of graph.inputs) scope.define(input.name, 'graph input');
  for (const names of [graph.initializers.keys(), graph.sparseInitializers.keys()]) {
    for (const name of names) if (!scope.hasOwn(name)) scope.define(name, 'initializer');
  }
  const whyMissing: WhyMissing = (name) => {
    const producer = graph.nodes.find((node) => node.outputs.includes(name));
    if (producer === undefined) return outerReason(name);
    topologicalOrder(graph); // throws for a cycle
    return `${quoteNode(producer)} that makes it stands further down; put the nodes into topological order first`;
  };
  for (const node of graph.nodes) verifyNode(node, scope, whyMissing);
  const outputs = new Set<string>();
  for (const { name } of graph.outputs) {
    if (outputs.has(name)) throw invalid(`graph output ${quoteName(name)} is listed more than once`);
    outputs.add(name);
    if (!scope.has(name)) throw invalid(`graph output ${quoteName(name)} is not made by any node`);
  }
}

function verifyNode(node: Node, scope: NameScope, whyMissing: WhyMissing): void {
  for (const name of node.inputs) {
    if (name === '' || scope.has(name)) continue;
    const reason = whyMissing(name) ?? 'no node, initializer or graph input makes it';
    throw invalid(`${quoteNode(node)} reads ${quoteName(name)}: ${reason}`);
  }
  for (const subgraph of node.subgraphs()) verifyGraph(subgraph, scope, whyMissing);
  for (const name of node.outputs) {
    if (name !== '') scope.define(name, `output of ${quoteNode(node)}`);
  }
}

function invalid(message: string): CompressionError {
  return new CompressionError('MODEL_INVALID', message);
}
